/**
 * People of the JavaScript client who write in a group. The task comes as JSON on the standard input:
 * {url, conv, settings, people: [{user, token, messages}]}. Tells of each message that is sent as a line of JSON, and at
 * the end of all that each of them has: {user, reconnects, held: [[seq, cmid, text]…], shown: [[seq, times]…]}.
 */
import { readFileSync } from "node:fs";

import { Session } from "../../clients/js/src/index.js";

const AT_REST_MS = 120_000;

const task = JSON.parse(readFileSync(0, "utf8"));
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Person {
  reconnects = -1;
  shown = new Map();

  constructor({ user, token, messages }) {
    this.user = user;
    this.messages = messages;
    this.session = new Session({
      url: task.url, user, device: "d1", platform: "desktop", settings: task.settings, token: () => token,
    });
    this.session.on("state", ({ state }) => (this.reconnects += state === "online"));
    this.session.on("entry", ({ entry, new: isNew }) => {
      if (isNew) this.shown.set(entry.seq, (this.shown.get(entry.seq) ?? 0) + 1);
    });
  }

  async write() {
    let last = 0;
    for (let number = 0; number < this.messages; number++) {
      const text = `${this.user} says ${number}`;
      const { seq, cmid } = await this.session.send(task.conv, text);
      tell({ sent: [seq, cmid, text] });
      last = Math.max(last, seq);
      await pause(Math.random() * 50);
    }
    return last;
  }

  has(last) {
    return (this.session.transcripts.get(task.conv)?.watermark ?? 0) >= last;
  }

  report() {
    const entries = this.session.transcripts.get(task.conv).entries().filter(({ kind }) => kind === "text");
    return {
      user: this.user,
      reconnects: this.reconnects,
      held: entries.map(({ seq, cmid, body }) => [seq, cmid, body.text]),
      shown: [...this.shown],
    };
  }
}

const people = task.people.map((one) => new Person(one));
for (const person of people) {
  const online = new Promise((resolve) => person.session.on("state", ({ state }) => state === "online" && resolve()));
  await person.session.start();
  await online; // functions that nobody has called yet take seconds to start
}
const last = Math.max(...(await Promise.all(people.map((person) => person.write()))));
const end = Date.now() + AT_REST_MS;
while (Date.now() < end && !people.every((person) => person.has(last))) await pause(200);
for (const person of people) tell(person.report());
await Promise.all(people.map((person) => person.session.close()));
