"use strict";
// From results to numbers and sentences. Nothing here touches the page. What a results file lacks is null or empty.

const NONE = "\u2013";
// A mark and a word: colors alone say nothing.
const KEPT = "\u2713 kept";
const MISSED = "\u2717 missed";
const TIMES = "\u00d7";

// What may be absent, or of another kind than it should be.
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const text = (value) => (typeof value === "string" ? value : "");
const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});
const numbers = (value) => list(value).map((one) => number(one) ?? 0);
const points = (value) =>
    list(value)
        .filter((pair) => Array.isArray(pair) && number(pair[0]) !== null && number(pair[1]) !== null)
        .map((pair) => ({x: pair[0], y: pair[1]}));

const sum = (values) => values.reduce((total, value) => total + value, 0);

function quantile(values, share) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.ceil(at);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}
const median = (values) => quantile(values, 0.5);

const fixed = (value, digits) => (value === null ? NONE : value.toFixed(digits));
/// Three digits: 7.71, 12.3, 140.
const threeDigits = (value) => value === null ? NONE :
                                                value.toFixed(
                                                    Math.abs(value) >= 99.95     ? 0 :
                                                        Math.abs(value) >= 9.995 ? 1 :
                                                                                   2);
const ratioText = (value) => fixed(value, 2);
const metricText = (value) => fixed(value, 4);
const percentText = (value) => (value === null ? NONE : `${Number((100 * value).toPrecision(3))} %`);
/// 0.99997 is not 1: a share that is not all is never shown as all.
function shareText(value) {
  if (value === null) return NONE;
  return value < 1 && value > 0.9999 ? "0.9999" : fixed(value, 4);
}
function signedPercentText(value) {
  if (value === null) return NONE;
  const rounded = (100 * value).toFixed(2);
  return (value > 0 && rounded !== "0.00" ? "+" : "") + (rounded === "-0.00" ? "0.00" : rounded);
}
const UNITS = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]];
const unitOfBytes = (value) => UNITS.find(([, size]) => value >= size) ?? ["B", 1];
function bytesText(value) {
  if (value === null) return NONE;
  const [unit, size] = unitOfBytes(value);
  return `${size === 1 ? value.toFixed(0) : threeDigits(value / size)} ${unit}`;
}
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const rangeText = (range, form) => (range.low === range.high ? "" : `${form(range.low)}${NONE}${form(range.high)}`);

const doneRuns = (level) => list(level.runs).filter((run) => run.ended === "done");

/// {median, low, high}, or null.
function range(value) {
  const {median: middle, low, high} = object(value);
  if (number(middle) === null) return null;
  return {median: middle, low: number(low) ?? middle, high: number(high) ?? middle};
}

/// The run that stands for a level: of the median ratio (of two middle ones the lower), by the time to the target where
/// ratios are equal, as the baseline's are.
function medianRun(level) {
  const runs = doneRuns(level);
  const key = (run) => [run.ratio, run.time_to_target, run.seconds].map((value) => number(value) ?? Infinity);
  const before = (a, b) => {
    const [x, y] = [key(a), key(b)];
    const at = x.findIndex((value, k) => value !== y[k]);
    return at < 0 ? 0 : x[at] < y[at] ? -1 : 1;
  };
  return runs.length === 0 ? null : [...runs].sort(before)[Math.floor((runs.length - 1) / 2)];
}

/// Sums of the lag histograms of all valid runs.
function lagCounts(level) {
  const counts = [];
  for (const run of doneRuns(level)) {
    numbers(object(run.lag).histogram).forEach((count, lag) => {
      counts[lag] = (counts[lag] ?? 0) + count;
    });
  }
  return counts;
}

function limitOf(one, level) {
  const limits = list(one.limits).map(object);
  const limit = limits.find(({level: name}) => name === level.name) ?? null;
  return limit !== null && number(limit.at_most) !== null ? limit : null;
}

/// What the table shows of a level, over its valid runs.
function figures(one, level) {
  const summary = object(level.summary);
  const runs = doneRuns(level);
  const blocked = runs.filter((run) => list(run.blocked_seconds).length > 0 && number(run.seconds) > 0)
                      .map((run) => sum(numbers(run.blocked_seconds)) / (run.blocked_seconds.length * run.seconds));
  const lags = lagCounts(level);
  const reads = sum(lags);
  const lagMost = runs.map((run) => number(object(run.lag).max)).filter((value) => value !== null);
  const visible = (name) =>
      runs.map((run) => number(object(run.visibility_ms)[name])).filter((value) => value !== null);
  const index = runs.flatMap((run) => points(run.consistency_index).map(({y}) => y));
  const all = list(level.runs);
  return {
    time: range(summary.time_to_target),
    ratio: range(summary.ratio),
    metric: range(summary.final_metric),
    difference: number(summary.quality_difference),
    bytes: number(summary.bytes),
    blocked: median(blocked),
    lagMost: lagMost.length > 0 ? Math.max(...lagMost) : null,
    lagAtMostOne: reads > 0 ? ((lags[0] ?? 0) + (lags[1] ?? 0)) / reads : null,
    visibleHalf: median(visible("p50")),
    visibleMost: median(visible("p99")),
    indexLeast: index.length > 0 ? Math.min(...index) : null,
    indexMean: index.length > 0 ? sum(index) / index.length : null,
    done: runs.length,
    void: all.filter((run) => run.ended === "void").length,
    failed: all.filter((run) => run.ended === "failed").length,
    limit: limitOf(one, level),
    kept: typeof summary.within_limit === "boolean" ? summary.within_limit : null,
  };
}

const isBaseline = (one, level) => level.name === one.baseline;
/// Whether the baseline has a valid run of the same repeat, the final quality of which is the run's target.
function hasTarget(one, run) {
  const baseline = one.levels.find((level) => isBaseline(one, level));
  return baseline !== undefined && doneRuns(baseline).some((other) => other.repeat === run.repeat);
}
const titleOf = (one) => text(one.title) || one.name;
const metricName = (one) =>
    (["rmse", "mae"].includes(one.metric) ? one.metric.toUpperCase() : text(one.metric) || "metric");

/// "3 runs, 1 void, 2 failed".
function countsText({done, void: invalid, failed}) {
  return [
    done > 0 || invalid + failed === 0 ? plural(done, "run") : "", invalid > 0 ? `${invalid} void` : "",
    failed > 0 ? `${failed} failed` : ""
  ].filter((part) => part !== "")
      .join(", ");
}

function limitText({limit, kept}) {
  if (limit === null) return "";
  const aim = number(limit.aim) !== null ? `, aim ${ratioText(limit.aim)}` : "";
  return `limit ${ratioText(limit.at_most)}${aim}: ${kept === null ? "not known yet" : kept ? KEPT : MISSED}`;
}

/// As it is shown, with two digits.
const isBelowOne = (ratio) => ratio < 0.995;

/// {lead, value, rest}: a level's line of "In short"; `value` is the number that it is about.
function shortLine(one, level, targetWithin) {
  const found = figures(one, level);
  const base = text(one.baseline) || "the baseline";
  const within = targetWithin > 0 ? `within ${percentText(targetWithin)} of` : "at";
  if (found.done === 0) {
    const ended = found.void + found.failed > 0;
    return {lead: ended ? `no valid run yet (${countsText(found)})` : "not run yet", value: "", rest: ""};
  }
  const quality = found.metric === null ? "" : `final ${metricName(one)} ${metricText(found.metric.median)}`;
  if (isBaseline(one, level)) {
    if (found.time === null)
      return {lead: `the baseline: ${quality || "no quality known"} (${countsText(found)})`, value: "", rest: ""};
    const spread = rangeText(found.time, threeDigits);
    return {
      lead: `the baseline: ${within} its ${quality || "final quality"} after `,
      value: `${threeDigits(found.time.median)} s`,
      rest: ` (${[spread, countsText(found)].filter((part) => part !== "").join(", ")})`
    };
  }
  const notes =
      [
        [found.ratio === null ? "" : rangeText(found.ratio, ratioText), countsText(found)]
            .filter((part) => part !== "")
            .join(", "),
        limitText(found)
      ].filter((part) => part !== "")
          .join("; ");
  const differs = found.difference !== null && Math.abs(found.difference) > targetWithin ?
      `; it ends ${percentText(Math.abs(found.difference))} ${found.difference > 0 ? "worse" : "better"}` :
      "";
  if (found.ratio === null) {
    const isCompared = doneRuns(level).some((run) => hasTarget(one, run));
    const reason = isCompared ? `never ${within} ${base}'s final quality` : `no valid run of ${base} to compare with yet`;
    return {lead: `${reason}${quality ? `; ${quality}` : ""}`, value: "", rest: ` (${notes})${differs}`};
  }
  const never = doneRuns(level).filter((run) => hasTarget(one, run) && number(run.time_to_target) === null).length;
  const missed = never > 0 ? `; ${never} of ${plural(found.done, "run")} never got there` : "";
  const lead = isBelowOne(found.ratio.high) ? "needs " :
      isBelowOne(found.ratio.median)        ? "no sure gain: needs " :
                                              "no gain: needs ";
  return {
    lead,
    value: ratioText(found.ratio.median),
    rest: ` of ${base}'s time to its final quality (${notes})${missed}${differs}`
  };
}

function networkText(network) {
  if (network === null || network === undefined) return "none emulated";
  const {delay_ms: delay, jitter_ms: jitter, rate_mbit: rate} = object(network);
  return [
    number(delay) !== null ? `${delay} ms one way` : "", number(jitter) ? `${jitter} ms jitter` : "",
    number(rate) ? `${rate} Mbit/s` : ""
  ].filter((part) => part !== "")
             .join(", ") ||
      "as it is";
}

function stragglersText(stragglers, ranks) {
  if (stragglers === null || stragglers === undefined) return "none";
  const {ranks: slow, factor, share} = object(stragglers);
  const who = `${number(slow) ?? "?"} of ${number(ranks) ?? "?"} ranks`;
  const when =
      number(share) === null || share >= 1 ? "always" : `each in a random ${percentText(share)} of half-sweeps`;
  return `${who} ${number(factor) ?? "?"}${TIMES} slower, ${when}`;
}

/// "2026-12-01 05:00 UTC" of an ISO time; other text as it is.
function momentText(moment) {
  const match = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?Z$/.exec(text(moment));
  return match === null ? text(moment) : `${match[1]} ${match[2]} UTC`;
}

/// How many of the repeats of all levels are there: {done, wanted}; a void run's repeat is open until it is done again.
function progress(results) {
  const repeats = number(results.repeats);
  let done = 0;
  let wanted = 0;
  for (const one of results.cases) {
    for (const level of one.levels) {
      const ended = new Set(level.runs.map((run) => run.repeat));
      done += repeats === null ? ended.size : Math.min(ended.size, repeats);
      wanted += repeats ?? ended.size;
    }
  }
  return {done, wanted};
}
