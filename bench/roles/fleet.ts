/** Many subscriptions, of which a topic matches one: that of the worker with its number. */

export function topicOf(worker: number): string {
  return `fleet.west.worker-${worker}.assign`;
}

/** With wildcards half of them have a `*` in the midst, which every look-up has to follow, and half end in `**`. */
export function patternOf(worker: number, wildcards: boolean): string {
  if (!wildcards) return topicOf(worker);
  return worker % 2 === 0 ? `fleet.*.worker-${worker}.assign` : `fleet.west.worker-${worker}.**`;
}
