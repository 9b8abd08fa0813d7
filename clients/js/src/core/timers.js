/** What is to be done later: a heap of times and calls. The machine's owner says what time it is. */

/**
 * Something to do. It is told what time it is: never before it was due, perhaps long after.
 * @typedef {(now: number) => void} Then
 */

/** Something that is due at `due`, in ms; of several, what was asked for first comes first. */
export class Timer {
  /**
   * @param {number} due
   * @param {number} number
   * @param {Then | null} then
   */
  constructor(due, number, then) {
    this.due = due;
    this.number = number;
    this.then = then;
  }

  /** It is not to be done any more. */
  cancel() {
    this.then = null;
  }
}

/**
 * @param {Timer} one
 * @param {Timer} other
 */
const isBefore = (one, other) => one.due < other.due || (one.due === other.due && one.number < other.number);

/** All that is to be done later. */
export class Timers {
  /** @type {Timer[]} */
  #heap = [];
  #made = 0;

  /**
   * Let `then` be done at `due`.
   * @param {number} due
   * @param {Then} then
   * @returns {Timer}
   */
  at(due, then) {
    this.#made += 1;
    const timer = new Timer(due, this.#made, then);
    this.#push(timer);
    return timer;
  }

  /**
   * When the next one is due; null when nothing is.
   * @returns {number | null}
   */
  get next() {
    while (this.#heap.length > 0 && this.#heap[0].then === null) this.#pop();
    return this.#heap.length > 0 ? this.#heap[0].due : null;
  }

  /**
   * Do all that is due by now, in its order, also what becomes due by it.
   * @param {number} now
   */
  fire(now) {
    for (let due = this.next; due !== null && due <= now; due = this.next) {
      const timer = this.#pop();
      if (timer.then !== null) timer.then(now);
    }
  }

  /** Forget everything. */
  clear() {
    for (const timer of this.#heap) timer.cancel();
    this.#heap = [];
  }

  /** @param {Timer} timer */
  #push(timer) {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(timer, heap[above])) break;
      heap[at] = heap[above];
      at = above;
    }
    heap[at] = timer;
  }

  /** @returns {Timer} */
  #pop() {
    const heap = this.#heap;
    const first = heap[0];
    const last = /** @type {Timer} */ (heap.pop());
    if (heap.length > 0) {
      let at = 0;
      for (;;) {
        let below = 2 * at + 1;
        if (below >= heap.length) break;
        if (below + 1 < heap.length && isBefore(heap[below + 1], heap[below])) below += 1;
        if (!isBefore(heap[below], last)) break;
        heap[at] = heap[below];
        at = below;
      }
      heap[at] = last;
    }
    return first;
  }
}
