/** The public names of the package. index.d.ts has their types. */
export {
  ConnectionLostError,
  FrameTooLargeError,
  ImClientError,
  MalformedEntryError,
  NoReplyError,
  ReplyError,
  StoreTakenError,
  UpgradeRefusedError,
} from "./core/errors.js";
export { CHANGE_KINDS, COUNTABLE_KINDS, PROTOCOL_VERSION, previewOf, readEntry } from "./core/frames.js";
export { directConversation, peerIn } from "./core/ids.js";
export { Machine } from "./core/machine.js";
export { Source, State } from "./core/outputs.js";
export { DEFAULT_SETTINGS, makeSettings } from "./core/settings.js";
export { Session, TooSlowError, connectionUrl } from "./session.js";
export { IndexedDbStore } from "./store-indexeddb.js";
export { MemoryStore } from "./store-memory.js";
