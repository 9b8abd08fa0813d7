/** A scripted server: WebSockets that open when they are told to, and answer as a test says. */

/** The sockets of one test, and what they say unless the test says otherwise. */
export class FakeServer {
  sockets = [];
  /** Every frame that came, over whatever socket. */
  frames = [];
  /** Called with a frame and its socket; what it returns is the data of the reply. undefined: no reply. */
  answers = new Map();
  /** Whether a new connection opens by itself. */
  opens = true;
  seq = 0;

  constructor() {
    const server = this;
    this.WebSocket = class FakeSocket {
      readyState = 0;

      constructor(url) {
        this.url = new URL(url);
        server.sockets.push(this);
        setTimeout(() => (server.opens ? this.open() : this.drop(1006)), 1);
      }

      open() {
        if (this.readyState !== 0) return;
        this.readyState = 1;
        this.onopen?.({});
      }

      send(text) {
        if (this.readyState !== 1) throw new Error("not open");
        const frame = JSON.parse(text);
        server.frames.push(frame);
        const answer = server.answers.get(`${frame.route}.${frame.op}`) ?? server.answers.get("*");
        const data = answer === undefined ? server.usual(frame) : answer(frame, this);
        if (data !== undefined) this.say({ id: frame.id, ok: true, data });
      }

      /** Says something, in a moment. */
      say(frame) {
        setTimeout(() => {
          if (this.readyState === 1) this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
        }, 1);
      }

      refuse(frame, error) {
        this.say({ id: frame.id, ok: false, error: { message: "no", retryable: false, ...error } });
      }

      close() {
        this.readyState = 3;
      }

      /** The connection is lost. */
      drop(code) {
        if (this.readyState === 3) return;
        this.readyState = 3;
        this.onerror?.({});
        this.onclose?.({ code });
      }
    };
  }

  get last() {
    return this.sockets.at(-1);
  }

  /** The frames of one operation. */
  of(name) {
    return this.frames.filter(({ route, op }) => `${route}.${op}` === name);
  }

  usual({ route, op, data }) {
    switch (`${route}.${op}`) {
      case "sync.inbox":
        return { conversations: [], inbox: "i1", privacy: { receipts: true, presence: true } };
      case "sync.entries":
        return { entries: [], last_seq: this.seq, more: false };
      case "message.send":
        this.seq += 1;
        return { conv: "d:alice:bob", seq: this.seq, n: this.seq, ts: 1_000 + this.seq, duplicate: false };
      case "sync.read":
        return { conv: data.conv, read_seq: data.seq, unread: 0, total_unread: 0 };
      default:
        return {};
    }
  }
}
