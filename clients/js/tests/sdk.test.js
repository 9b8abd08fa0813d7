/** The session over scripted connections: what a program sees, whatever the connections do. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStore, Session } from "../src/index.js";
import { uuid } from "../src/uuid.js";
import { FakeServer } from "./fake-server.js";

const CONV = "d:alice:bob";
/** Every wait a hundredth of the real one. */
const QUICK = {
  reply: 50, dial: 200, hole: 3, holeLongest: 50, acknowledge: 10, read: 10, inbox: 3, inboxUnknown: 10, inboxRetry: 50,
  pingEvery: 2_400, pingDeadline: 100, backoffFirst: 5, backoffLongest: 50, stable: 50,
};

const message = (seq, more = {}) => ({
  conv: CONV, seq, n: seq, kind: "text", from: "bob", ts: 1_000 + seq, body: { text: `m${seq}` }, ...more,
});

/** A session of alice that is closed when the test is over, with all of its events. */
function sessionOf(t, server, more = {}) {
  const session = new Session({
    url: "wss://example.test/prod", user: "alice", device: "a1", token: async () => "T", settings: QUICK,
    WebSocket: server.WebSocket, ...more,
  });
  const events = [];
  session.on("*", (event) => events.push(event));
  t.after(() => session.close());
  return { session, events };
}

/** Waits until something is so. */
async function until(isSo, what = isSo) {
  for (let tries = 0; tries < 400; tries += 1) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`never: ${what}`);
}

const texts = (server) => server.of("message.send").map(({ data }) => data.body.text);

test("a message is shown at once, before anything is sent", async (t) => {
  const server = new FakeServer();
  const { session, events } = sessionOf(t, server);
  await session.start();

  const cmid = session.post(CONV, "hello");

  const echo = events.find(({ type }) => type === "outgoing");
  assert.equal(echo.item.cmid, cmid);
  assert.equal(echo.item.state, "queued");
  assert.deepEqual(echo.item.body, { text: "hello" });
  assert.equal(server.frames.length, 0);
  await until(() => events.some(({ type, item }) => type === "outgoing" && item.state === "sent"));
  assert.equal(session.outbox.size, 0);
});

test("the promise of a message is its entry as the server has it", async (t) => {
  const server = new FakeServer();
  const { session } = sessionOf(t, server);
  await session.start();

  const entry = await session.send(CONV, "hello", { mentions: ["bob"], replyTo: 3 });

  assert.equal(entry.seq, 1);
  assert.equal(entry.sender, "alice");
  assert.deepEqual(entry.body, { text: "hello" });
  const [{ data }] = server.of("message.send");
  assert.deepEqual(data, { to: "bob", cmid: entry.cmid, kind: "text", body: { text: "hello" }, mentions: ["bob"], reply_to: 3 });
});

test("a lost reply: the same frame again, and one message", async (t) => {
  const server = new FakeServer();
  let lost = 0;
  server.answers.set("message.send", (frame) => (lost++ === 0 ? undefined : server.usual(frame)));
  const { session } = sessionOf(t, server);
  await session.start();

  const entry = await session.send(CONV, "hello");

  const [first, second] = server.of("message.send");
  assert.deepEqual(first, second);
  assert.equal(entry.seq, 1);
  assert.equal(server.sockets.length, 1);
});

test("a lost connection: another one, and what waits goes out over it", async (t) => {
  const server = new FakeServer();
  server.answers.set("message.send", (frame, socket) => {
    if (socket !== server.sockets[0]) return server.usual(frame);
    socket.drop(1006);
    return undefined;
  });
  const { session, events } = sessionOf(t, server, { settings: { ...QUICK, pingDeadline: 60_000 } });
  await session.start();

  await session.send(CONV, "hello");

  assert.equal(server.sockets.length, 2);
  assert.deepEqual(texts(server), ["hello", "hello"]);
  const states = events.filter(({ type }) => type === "state").map(({ state }) => state);
  assert.deepEqual(states, ["connecting", "online", "waiting", "connecting", "online"]);
});

test("typed without a network, sent by the next session from the store, once and in order", async (t) => {
  const server = new FakeServer();
  const store = new MemoryStore();
  server.opens = false;
  const before = sessionOf(t, server, { store });
  await before.session.start();
  const cmids = ["one", "two", "three"].map((text) => before.session.post(CONV, text));
  await before.session.close();
  assert.deepEqual(server.frames, []);

  server.opens = true;
  const { session, events } = sessionOf(t, server, { store });
  await session.start();
  assert.deepEqual([...session.outbox.keys()], cmids);
  await until(() => session.outbox.size === 0);

  assert.deepEqual(texts(server), ["one", "two", "three"]);
  assert.deepEqual(server.of("message.send").map(({ data }) => data.cmid), cmids);
  assert.deepEqual(events.filter(({ type }) => type === "entry").map(({ entry }) => entry.seq), [1, 2, 3]);
  const history = await session.history(CONV);
  assert.deepEqual(history.map(({ body }) => body.text), ["three", "two", "one"]);
});

test("what was received is there for the next session, which asks only for what has changed", async (t) => {
  const server = new FakeServer();
  const store = new MemoryStore();
  const row = { conv: CONV, last_seq: 1, last_n: 1, last: null, read_seq: 0, read_n: 0, ack_seq: 0, rev: 0, deleted: 0, at: 1, updated: 1 };
  server.answers.set("sync.inbox", ({ data }) => ({ conversations: data.since === undefined ? [row] : [], inbox: "i7" }));
  const before = sessionOf(t, server, { store });
  await before.session.start();
  await until(() => before.session.rows.size === 1);
  server.last.say({ push: "entries", data: { conv: CONV, entries: [message(2), message(4)] } });
  await until(() => before.session.transcripts.get(CONV)?.size === 2);
  await before.session.close();

  server.opens = false;
  const { session } = sessionOf(t, server, { store });
  await session.start();

  assert.equal(session.rows.get(CONV).last_seq, 4);
  assert.equal(session.transcripts.get(CONV).has(4), true);
  assert.deepEqual(session.transcripts.get(CONV).missing(), [{ first: 3, last: 3 }]);
  assert.deepEqual((await session.history(CONV, { before: 4 })).map(({ seq }) => seq), [2]);
  server.opens = true;
  await until(() => server.of("sync.inbox").length === 2);
  assert.deepEqual(server.of("sync.inbox")[1].data, { since: "i7" });
});

test("kicked: it stays away until it is started again, and who waits is told", async (t) => {
  const server = new FakeServer();
  server.answers.set("message.send", () => undefined);
  server.answers.set("group.info", () => undefined);
  const { session, events } = sessionOf(t, server);
  await session.start();
  await until(() => session.state === "online");
  const sending = session.send(CONV, "hello");
  const calling = session.call("group", "info", { conv: "g:x" });
  server.last.say({ push: "kicked", data: { reason: "replaced" } });

  await assert.rejects(sending, { code: "kicked", kicked: "replaced" });
  await assert.rejects(calling, { name: "ConnectionLostError", code: "kicked", retryable: false });
  await assert.rejects(session.send(CONV, "later"), { code: "kicked" });
  assert.equal(session.state, "ended");
  assert.equal(events.find(({ state }) => state === "ended").why, "kicked");
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(server.sockets.length, 1);

  server.answers.clear();
  await session.start();
  await until(() => session.outbox.size === 0);
  assert.deepEqual(texts(server), ["hello", "hello"]);
});

test("messages of one conversation go out one after the other, in order", async (t) => {
  const server = new FakeServer();
  let underWay = 0;
  let most = 0;
  server.answers.set("message.send", (frame, socket) => {
    underWay += 1;
    most = Math.max(most, underWay);
    setTimeout(() => {
      underWay -= 1;
      socket.say({ id: frame.id, ok: true, data: server.usual(frame) });
    }, 3);
    return undefined;
  });
  const { session } = sessionOf(t, server);
  await session.start();
  const wanted = Array.from({ length: 8 }, (_, number) => `m${number}`);

  const entries = await Promise.all(wanted.map((text) => session.send(CONV, text)));

  assert.deepEqual(texts(server), wanted);
  assert.deepEqual(entries.map(({ seq }) => seq), [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(most, 1);
});

test("a handler that throws stops no other, and no message", async (t) => {
  const server = new FakeServer();
  const thrown = [];
  const { session, events } = sessionOf(t, server, { onHandlerError: (error) => thrown.push(error.message) });
  const heard = [];
  session.on("outgoing", () => {
    throw new Error("a handler's own fault");
  });
  session.on("outgoing", ({ item }) => heard.push(item.state));
  await session.start();

  await session.send(CONV, "hello");

  assert.deepEqual(heard, ["queued", "sending", "sent"]);
  assert.equal(thrown.length, 3);
  assert.equal(thrown[0], "a handler's own fault");
  assert.equal(events.filter(({ type }) => type === "outgoing").length, 3);
});

test("a refusal is an error with a code, and the message is forgotten; a posted one can be sent again", async (t) => {
  const server = new FakeServer();
  server.answers.set("message.send", (frame, socket) => {
    socket.refuse(frame, { code: "muted", retry_after_ms: 900 });
    return undefined;
  });
  const { session, events } = sessionOf(t, server);
  await session.start();

  await assert.rejects(session.send(CONV, "hello"), { name: "ReplyError", code: "muted", retryAfterMs: 900, retryable: false });
  assert.equal(session.outbox.size, 0);

  const cmid = session.post(CONV, "again");
  await until(() => session.outbox.get(cmid)?.state === "failed");
  assert.equal(session.outbox.get(cmid).code, "muted");
  server.answers.clear();
  session.retry(cmid);
  await until(() => session.outbox.size === 0);
  assert.equal(events.at(-1).type === "noted" || events.some(({ item }) => item?.cmid === cmid && item.state === "sent"), true);
});

test("an error tells what the caller has of a red packet already", async (t) => {
  const server = new FakeServer();
  server.answers.set("redpacket.claim", (frame, socket) => {
    socket.refuse(frame, { code: "already_claimed", amount: 512 });
    return undefined;
  });
  const { session } = sessionOf(t, server);
  await session.start();

  await assert.rejects(session.call("redpacket", "claim", { packet: "p" }), { code: "already_claimed", amount: 512 });
});

test("changes to messages, in order behind messages, give the seq of the change", async (t) => {
  const server = new FakeServer();
  server.answers.set("*", (frame) =>
    frame.route === "message" ? { conv: CONV, seq: ++server.seq, n: 1, ts: 5, duplicate: false } : server.usual(frame));
  const { session } = sessionOf(t, server);
  await session.start();

  const done = await Promise.all([
    session.send(CONV, "hello"), session.edit(CONV, 1, "hi"), session.react(CONV, 1, "__proto__"),
    session.pin(CONV, 1, false), session.recall(CONV, 1),
  ]);

  assert.deepEqual(done.slice(1), [2, 3, 4, 5]);
  const told = server.frames.filter(({ route }) => route === "message");
  assert.deepEqual(told.map(({ op }) => op), ["send", "edit", "react", "pin", "recall"]);
  assert.deepEqual({ ...told[1].data, cmid: "" }, { conv: CONV, seq: 1, body: { text: "hi" }, cmid: "" });
  assert.equal(told[2].data.emoji, "__proto__");
  assert.equal(told[3].data.on, false);
});

test("an older page: true when it has come, false at the end of history", async (t) => {
  const server = new FakeServer();
  server.answers.set("sync.entries", ({ data }) => ({ entries: [message(2), message(1)].filter(({ seq }) => seq < data.before), last_seq: 3, more: false }));
  const { session, events } = sessionOf(t, server);
  await session.start();
  await until(() => session.state === "online");
  server.last.say({ push: "entries", data: { conv: CONV, entries: [message(3)] } });
  await until(() => session.transcripts.has(CONV));

  const [first, second] = await Promise.all([session.older(CONV, 10), session.older(CONV, 10)]);

  assert.deepEqual([first, second], [true, true]);
  assert.equal(server.of("sync.entries").length, 1);
  assert.deepEqual(events.filter(({ source }) => source === "older").map(({ entry }) => entry.seq), [1, 2]);
  assert.equal(await session.older(CONV), false);
  assert.deepEqual((await session.history(CONV, { limit: 2 })).map(({ seq }) => seq), [3, 2]);
});

test("what was read is told the server, at the latest when the session is closed", async (t) => {
  const server = new FakeServer();
  let answered = 0;
  server.answers.set("sync.read", (frame, socket) => {
    setTimeout(() => {
      answered += 1;
      socket.say({ id: frame.id, ok: true, data: server.usual(frame) });
    }, 20);
    return undefined;
  });
  const { session } = sessionOf(t, server, { settings: { ...QUICK, read: 60_000 } });
  await session.start();
  await until(() => session.state === "online");
  session.read(CONV, 7);
  assert.equal(server.of("sync.read").length, 0);

  await session.close();

  assert.deepEqual(server.of("sync.read").map(({ data }) => data), [{ conv: CONV, seq: 7 }]);
  assert.equal(answered, 1);
  assert.equal(session.state, "ended");
  assert.equal(server.last.readyState, 3);
});

test("a refused attempt: the next token is a fresh one, and the address has what the protocol asks for", async (t) => {
  const server = new FakeServer();
  server.opens = false;
  const asked = [];
  const { session } = sessionOf(t, server, {
    token: async ({ fresh }) => {
      asked.push(fresh);
      if (asked.length === 2) throw new Error("no network");
      server.opens = asked.length > 2;
      return `T ${asked.length}&`;
    },
  });
  await session.start();
  await until(() => session.state === "online");

  assert.deepEqual(asked, [false, true, true]);
  assert.equal(server.sockets.length, 2);
  assert.deepEqual(Object.fromEntries(server.last.url.searchParams), { token: "T 3&", device: "a1", platform: "web", v: "1" });
});

test("a slow store: what is sent waits until it is kept, in one write; what is said is shown at once", async (t) => {
  const server = new FakeServer();
  const memory = new MemoryStore();
  const writes = [];
  let release = () => {};
  const store = {
    listen() {},
    load: async () => memory.load(),
    entries: (...given) => memory.entries(...given),
    close: async () => {},
    apply(changes) {
      memory.apply(changes);
      writes.push(changes.map(({ table, key }) => `${table} ${key}`));
      return new Promise((resolve) => {
        release = resolve;
        if (!holding) resolve();
      });
    },
  };
  let holding = false;
  const { session, events } = sessionOf(t, server, { store });
  await session.start();
  await until(() => session.state === "online" && writes.length > 0);
  await session.refresh();
  writes.length = 0;
  holding = true;

  const cmid = session.post(CONV, "hello");
  assert.equal(events.at(-1).item?.cmid, cmid);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(writes, [[`outbox ${cmid}`, `outbox ${cmid}`]]);
  assert.equal(server.of("message.send").length, 0);

  holding = false;
  release();
  await until(() => session.outbox.size === 0);
  assert.equal(server.of("message.send").length, 1);
  const sent = writes.find((write) => write.some((change) => change.startsWith("entries")));
  assert.deepEqual(sent.slice(0, 3), [`outbox ${cmid}`, `entries ${CONV}`, `logs ${CONV}`]);
});

test("a store that fails is told of, and nothing stops", async (t) => {
  const server = new FakeServer();
  const store = {
    listen(tell) {
      this.tell = tell;
    },
    load: () => new MemoryStore().load(),
    entries: async () => [],
    close: async () => {},
    apply() {
      this.tell({ what: "failed", error: new Error("disk full") });
      return Promise.reject(new Error("disk full"));
    },
  };
  const { session, events } = sessionOf(t, server, { store });
  await session.start();

  const entry = await session.send(CONV, "hello");

  assert.equal(entry.seq, 1);
  assert.equal(events.some(({ type, what }) => type === "store" && what === "failed"), true);
});

test("events can be iterated over, and end with the session", async (t) => {
  const server = new FakeServer();
  const { session } = sessionOf(t, server);
  const seen = [];
  const reading = (async () => {
    for await (const event of session) {
      if (event.type === "outgoing") seen.push(event.item.state);
    }
  })();
  await session.start();
  await session.send(CONV, "hello");
  await session.close();

  await reading;
  assert.deepEqual(seen, ["queued", "sending", "sent"]);
});

test("an iterator that nobody reads says that it has lost events", async (t) => {
  const server = new FakeServer();
  const { session } = sessionOf(t, server);
  await session.start();
  await until(() => session.state === "online");
  const events = session.events();
  const many = Array.from({ length: 10_100 }, (_, at) => ({ push: "typing", data: { conv: CONV, user: "bob", on: at } }));
  for (const push of many) server.last.onmessage({ data: JSON.stringify(push) });

  let read = 0;
  await assert.rejects(async () => {
    for await (const _ of events) read += 1;
  }, { code: "too_slow" });
  assert.equal(read, 10_000);
});

test("names that mean something to JavaScript are names like others", async (t) => {
  const server = new FakeServer();
  const { session } = sessionOf(t, server);
  await session.start();
  await until(() => session.state === "online");
  const names = ["__proto__", "constructor", "toString"];
  for (const conv of names) {
    const reactions = `{"__proto__":{"count":2,"users":[]},"constructor":{"count":1}}`;
    const entry = JSON.stringify(message(1, { conv })).replace(/}$/, `,"reactions":${reactions},"__proto__":{"polluted":1}}`);
    server.last.say(`{"push":"entries","data":{"conv":"${conv}","entries":[${entry}]}}`);
    server.last.say({ push: "row", data: { conv, last_seq: 1, last_n: 1, read_n: 0 } });
  }
  await until(() => session.transcripts.size === 3 && session.rows.size === 3);

  assert.deepEqual([...session.transcripts.keys()], names);
  const entry = session.transcripts.get("__proto__").get(1);
  assert.deepEqual([...entry.reactions], [["__proto__", 2], ["constructor", 1]]);
  assert.equal(entry.polluted, undefined);
  assert.equal({}.polluted, undefined);
  assert.equal((await session.history("__proto__")).length, 1);
});

test("a WebSocket that nobody has is asked for by name", () => {
  const options = { url: "wss://example.test", user: "alice", device: "a1", token: async () => "T" };
  assert.throws(() => new Session({ ...options, WebSocket: undefined, ...(globalThis.WebSocket ? { WebSocket: null } : {}) }), /option `WebSocket`/);
});

test("a status that the socket tells of: a token that is refused twice ends it", async (t) => {
  const server = new FakeServer();
  const Plain = server.WebSocket;
  server.WebSocket = class extends Plain {
    open() {
      this.readyState = 3;
      this.refused({ destroy() {} }, { statusCode: 403 });
    }
    once(name, then) {
      this.refused = then;
    }
  };
  const { session } = sessionOf(t, server);
  await session.start();
  await until(() => session.state === "ended");

  assert.equal(session.ended.code, "refused");
  assert.equal(session.ended.status, 403);
  assert.equal(server.sockets.length, 2);
});

test("a store that could not be loaded can be tried again, and closing ends once", async (t) => {
  const server = new FakeServer();
  const memory = new MemoryStore();
  let fails = true;
  let closed = 0;
  const store = {
    listen() {},
    apply: (changes) => memory.apply(changes),
    entries: (...given) => memory.entries(...given),
    load: async () => {
      if (fails) throw new Error("locked");
      return memory.load();
    },
    close: async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      closed += 1;
    },
  };
  const { session } = sessionOf(t, server, { store });
  await assert.rejects(session.start(), /locked/);
  fails = false;
  await session.start();
  await session.send(CONV, "hello");

  const first = session.close();
  await session.close();
  assert.equal(closed, 1);
  await first;
  await assert.rejects(session.start(), { code: "stopped" });
});

test("a message that is no JSON is refused at once, and holds nothing up", async (t) => {
  const server = new FakeServer();
  const { session } = sessionOf(t, server);
  await session.start();
  const round = {};
  round.again = round;

  await assert.rejects(session.send(CONV, round), TypeError);
  assert.throws(() => session.post(CONV, { big: 1n }), TypeError);
  assert.equal((await session.send(CONV, "hello")).seq, 1);
});

test("a UUID also where only random bytes are", () => {
  Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
  const made = new Set(Array.from({ length: 100 }, uuid));
  delete crypto.randomUUID;

  assert.equal(made.size, 100);
  for (const one of made) assert.match(one, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
