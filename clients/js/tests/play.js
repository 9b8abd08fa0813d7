/**
 * Plays a table of scenarios (clients/scenarios.json, where the format is told) against the machine.
 *
 *     node clients/js/tests/play.js clients/scenarios.json [--only NAME]
 *
 * One line for each scenario: `ok NAME`, or `not ok NAME` and the first step that differs. Exits with 1 on any failure.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { same } from "../src/core/json.js";
import { Machine } from "../src/core/machine.js";
import { makeSettings } from "../src/core/settings.js";

/** Between two steps. A machine that wants to be woken more often is in a loop. */
const MOST_WAKES = 10_000;

const TABLES = ["meta", "rows", "logs", "reads", "deleted", "outbox", "entries"];

/** The machine does not do what the scenario says. The message shows both, a line for each output. */
class DifferenceError extends Error {}

/** A machine, the tables that it keeps, and the time. */
class Player {
  tables = Object.fromEntries(TABLES.map((name) => [name, new Map()]));
  #out = [];

  constructor(scenario) {
    const settings = Object.entries(scenario.settings ?? {}).map(([name, value]) => [camelCase(name), value]);
    this.user = scenario.user;
    this.settings = makeSettings({ stores: true, ...Object.fromEntries(settings) });
    this.share = scenario.draw;
    this.machine = this.#made(null);
  }

  /** All that comes out since the step before. */
  step({ at, do: wanted }) {
    const done = expanded(wanted);
    if (done[0] === "sleep") {
      this.machine.wake(at);
    } else {
      let wakes = 0;
      for (let due = this.machine.nextWake; due !== null && due <= at; due = this.machine.nextWake) {
        wakes += 1;
        if (wakes > MOST_WAKES) throw new DifferenceError(`wants to be woken again and again at ${due}`);
        this.machine.wake(due);
        this.#take(due);
      }
      this.#do(done, at);
    }
    this.#take(at);
    const told = this.#out;
    this.#out = [];
    return told;
  }

  #made(kept) {
    return new Machine(this.user, this.settings, (below) => Math.floor(below * this.share), kept);
  }

  /** What a new machine is given. */
  #kept() {
    const { meta, rows, logs, reads, deleted, outbox, entries } = this.tables;
    const above = new Map();
    for (const [conv, { watermark }] of logs) {
      const seqs = [...(entries.get(conv)?.keys() ?? [])].filter((seq) => seq > watermark);
      above.set(conv, seqs.sort((one, other) => one - other));
    }
    const inbox = meta.get("inbox")?.value ?? null;
    return { inbox, rows: [...rows], logs: [...logs], above, reads: [...reads], deleted: [...deleted], outbox: [...outbox.values()] };
  }

  #take(at) {
    for (const output of this.machine.outputs()) {
      if (output.type === "save") {
        for (const change of output.changes) this.#keep(change);
      } else {
        const line = lineOf(output);
        if (line !== null) this.#out.push([at, ...line]);
      }
    }
  }

  #keep({ table: name, key, value, seq }) {
    const table = this.tables[name];
    const copy = JSON.parse(JSON.stringify(value)); // as on a disk: what is changed later is not changed here
    if (name === "entries" && seq !== null) {
      if (!table.has(key)) table.set(key, new Map());
      table.get(key).set(seq, copy);
    } else if (value === null) {
      table.delete(key);
    } else {
      table.set(key, copy);
    }
  }

  #do([what, ...given], at) {
    const machine = this.machine;
    const doing = {
      wait: () => {},
      start: () => machine.start(at),
      stop: () => machine.stop(at),
      leave: () => machine.leave(at),
      opened: (link) => machine.opened(link, at),
      failed: (link, status) => machine.failed(link, status, at),
      closed: (link, code) => machine.closed(link, code, at),
      frame: (link, frame) => machine.received(link, JSON.stringify(frame), at),
      text: (link, text) => machine.received(link, text, at),
      network: (online) => machine.network(at, online),
      resumed: () => machine.resumed(at),
      call: (route, op, data) => machine.call(route, op, data, at),
      send: (item) => machine.send(item, at),
      change: (conv, op, data, cmid) => machine.change(conv, op, data, cmid, at),
      retry: (cmid) => machine.retry(cmid, at),
      discard: (cmid) => machine.discard(cmid),
      read: (conv, seq) => machine.read(conv, seq, at),
      older: (conv, limit) => machine.older(conv, limit, at),
      expect: (conv, seq) => machine.expect(conv, seq, at),
      refresh: () => machine.refresh(at),
      restart: () => {
        this.machine = this.#made(this.#kept());
        this.machine.start(at);
      },
    };
    if (!Object.hasOwn(doing, what)) throw new DifferenceError(`nobody knows how to do ${what}`);
    doing[what](...given);
  }
}

/** An output as a scenario has it; null for what it does not have. */
function lineOf(output) {
  switch (output.type) {
    case "dial":
      return output.fresh ? ["dial", output.link, "fresh"] : ["dial", output.link];
    case "transmit":
      return ["send", output.link, JSON.parse(output.frame)];
    case "hangup":
      return ["hangup", output.link];
    case "answer":
      return ["answer", output.call, ...(output.error === null ? [output.data, null] : [null, output.error.code])];
    case "state":
      return output.why === "" ? ["state", output.state] : ["state", output.state, output.why];
    case "entry":
      return ["entry", output.entry.conv, output.entry.seq, output.source, output.new];
    case "settled":
      return output.restarted === null ? ["settled", output.conv] : ["settled", output.conv, output.restarted];
    case "row":
      return ["row", output.row];
    case "deleted":
      return ["deleted", output.conv];
    case "outgoing":
      return ["outgoing", output.item.cmid, output.item.state, ...outcomeOf(output.item)];
    case "push":
      return ["push", output.name, output.data];
    default:
      return null; // for a person
  }
}

function outcomeOf(item) {
  if (item.state === "sent") return [{ seq: item.seq }];
  if (item.state !== "failed") return [];
  return [Object.fromEntries(["code", "retry_after_ms"].filter((name) => name in item).map((name) => [name, item[name]]))];
}

/** A part of a scenario as it is meant: `{"$text": ["€", 3, "x", 1]}` stands for the text `€€€x`. */
function expanded(value) {
  if (Array.isArray(value)) return value.map(expanded);
  if (typeof value !== "object" || value === null) return value;
  const names = Object.keys(value);
  if (names.length === 1 && Array.isArray(value.$text)) {
    return value.$text.map((part, at, parts) => (at % 2 === 0 ? part.repeat(parts[at + 1]) : "")).join("");
  }
  return Object.fromEntries(names.map((name) => [name, expanded(value[name])]));
}

const camelCase = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

/** A table as a scenario has it. */
const plain = (table) =>
  Object.fromEntries([...table].map(([key, value]) => [key, value instanceof Map ? Object.fromEntries(value) : value]));

function compare(where, wanted, got) {
  if (same(wanted, got)) return;
  const [expected, came] = [wanted, got].map((lines) => (Array.isArray(lines) ? lines : [lines]));
  const first = expected.findIndex((line, at) => !same(line, came[at]));
  const from = first < 0 ? expected.length : first;
  const lines = [
    ...expected.slice(0, from).map((line) => `    ${shown(line)}`),
    ...expected.slice(from).map((line) => `  - ${shown(line)}`),
    ...came.slice(from).map((line) => `  + ${shown(line)}`),
  ];
  throw new DifferenceError([where, "(- expected, + came)", ...lines].join("\n"));
}

function shown(value) {
  const text = JSON.stringify(value);
  return text.length <= 1_000 ? text : `${text.slice(0, 400)} … ${text.length} characters … ${text.slice(-400)}`;
}

/** Play one. Throws at the first step that differs. */
function play(scenario) {
  const player = new Player(scenario);
  for (const [number, step] of scenario.steps.entries()) {
    const where = `step ${number} (at ${step.at}: ${shown(step.do).slice(0, 200)})`;
    let got;
    try {
      got = player.step(step);
    } catch (error) {
      throw new DifferenceError(`${where}\n${error.stack}`, { cause: error });
    }
    compare(where, expanded(step.out), got);
    for (const [name, table] of Object.entries(step.kept ?? {})) {
      compare(`${where}: kept in ${name}`, expanded(table), plain(player.tables[name]));
    }
  }
}

function main() {
  const { values, positionals } = parseArgs({ options: { only: { type: "string" } }, allowPositionals: true });
  const { scenarios } = JSON.parse(readFileSync(positionals[0], "utf8"));
  const chosen = scenarios.filter(({ name }) => values.only === undefined || name === values.only);
  if (chosen.length === 0) throw new Error(`no scenario is called ${values.only}`);
  let failures = 0;
  for (const scenario of chosen) {
    try {
      play(scenario);
      console.log(`ok ${scenario.name}`);
    } catch (error) {
      failures += 1;
      console.log(`not ok ${scenario.name}\n${error.message.replace(/^/gm, "  ")}`);
    }
  }
  process.exitCode = failures === 0 ? 0 : 1;
}

main();
