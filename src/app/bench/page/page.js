"use strict";
// The page, from top to bottom, made of the results in it. Texts are set as texts, never as HTML.

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function factList(pairs) {
  const rows = pairs.filter(([, value]) => value !== "" && value !== null)
                   .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  return element("dl", {class: "facts"}, ...rows);
}

const verdict = (kept) => element("span", {class: kept ? "kept" : "missed"}, kept ? KEPT : MISSED);

/// A sentence in which the verdict on a limit stands out.
function withVerdict(sentence) {
  return sentence.split(new RegExp(`(${KEPT}|${MISSED})`))
      .map((part) => (part === KEPT || part === MISSED ? verdict(part === KEPT) : part));
}

function swatch(looks, name) {
  return element("span", {class: "swatch", style: `background: var(--${looks.variable(name)})`, "aria-hidden": "true"});
}

const anchor = (index) => `case-${index + 1}`;

function head(results) {
  const machine = object(results.machine);
  const repeats = number(results.repeats);
  const within = number(results.target_within);
  const commit = text(results.commit);
  document.title = `${text(results.name) || "Concerto bench"}: consistency levels compared`;
  return element(
      "header", {}, element("h1", {}, text(results.name) || "A sweep without a name"),
      text(results.about) === "" ? null : element("p", {}, text(results.about)), factList([
        ["Command", text(results.command) === "" ? "" : element("code", {}, text(results.command))],
        ["Begun", momentText(results.begun)],
        [
          "Machine",
          [
            text(machine.cpu), number(machine.threads) === null ? "" : plural(machine.threads, "thread"),
            number(machine.memory_bytes) === null ? "" : `${bytesText(machine.memory_bytes)} of memory`
          ].filter((part) => part !== "")
              .join(", ")
        ],
        [
          "Concerto",
          [text(results.version), commit === "" ? "" : `commit ${commit}`].filter((part) => part !== "").join(", ")
        ],
        ["Repeats", repeats === null ? "" : `${repeats} of each level, in turn with the other levels of its case`],
        [
          "Target",
          within === null ? "" : `the baseline's final quality in the same repeat, within ${percentText(within)}`
        ],
      ]),
      unfinished(results));
}

function unfinished(results) {
  const {done, wanted} = progress(results);
  if (results.cases.length === 0)
    return element("p", {class: "notice"}, "This file holds no cases yet: nothing has been measured.");
  if (done >= wanted) return null;
  return element(
      "p", {class: "notice"},
      `Incomplete: ${done} of ${plural(wanted, "run")} are in this file. What follows may still change.`);
}

/// How many limits are kept, in one sentence.
function limitsLine(cases) {
  const found =
      cases.flatMap((one) => one.levels.map((level) => figures(one, level))).filter(({limit}) => limit !== null);
  if (found.length === 0) return element("p", {}, "The sweep sets no limits.");
  const kept = found.filter((one) => one.kept === true).length;
  const open = found.filter((one) => one.kept === null).length;
  return element(
      "p", {},
      `Of ${plural(found.length, "limit")} that the sweep sets, ${kept} ${kept === 1 ? "is" : "are"} kept` +
          `${found.length - kept - open > 0 ? `, ${found.length - kept - open} missed` : ""}${
              open > 0 ? `, ${open} not known yet` : ""}.`);
}

function inShort(results, looks) {
  const within = number(results.target_within) ?? 0;
  const lines = results.cases.map((one, index) => {
    const levels = one.levels.map((level) => {
      const {lead, value, rest} = shortLine(one, level, within);
      return element(
          "li", {class: isBaseline(one, level) ? "soft" : ""}, swatch(looks, level.name), `${level.name}: `, lead,
          value === "" ? null : element("b", {}, value), ...withVerdict(rest));
    });
    return element("li", {}, element("a", {href: `#${anchor(index)}`}, titleOf(one)), element("ul", {}, ...levels));
  });
  return element(
      "section", {}, element("h2", {}, "In short"), limitsLine(results.cases),
      element(
          "p", {class: "soft small"},
          "A ratio of 0.50 means: half the baseline's time to the same quality. Shown are the median of the repeats " +
              "and, in brackets, the lowest and the highest."),
      element("ul", {class: "short"}, ...lines));
}

// Columns of the table: name, unit, value.
const COLUMNS = [
  ["time to target", "s", ({time}) => [threeDigits(time?.median ?? null)]],
  [
    "ratio to the baseline", `median, low${NONE}high`,
    ({ratio}) => [ratioText(ratio?.median ?? null), ratio === null ? "" : rangeText(ratio, ratioText)]
  ],
  ["final metric", "", ({metric}) => [metricText(metric?.median ?? null)]],
  ["worse than baseline", "%", ({difference}) => [signedPercentText(difference)]],
  ["bytes sent", "", ({bytes}) => [bytesText(bytes)]],
  ["blocked", "% of time", ({blocked}) => [blocked === null ? NONE : threeDigits(100 * blocked)]],
  ["lag", "most", ({lagMost}) => [lagMost === null ? NONE : String(lagMost)]],
  ["P(lag \u2264 1)", "", ({lagAtMostOne}) => [shareText(lagAtMostOne)]],
  [
    "visibility", "ms, p50 / p99",
    ({visibleHalf, visibleMost}) =>
        [visibleHalf === null ? NONE : `${threeDigits(visibleHalf)} / ${threeDigits(visibleMost)}`]
  ],
  [
    "C", "least / mean",
    ({indexLeast, indexMean}) => [indexLeast === null ? NONE : `${metricText(indexLeast)} / ${metricText(indexMean)}`]
  ],
  ["runs", "valid / void / failed", (found) => [`${found.done} / ${found.void} / ${found.failed}`]],
];

function limitCell({limit, kept}) {
  const cell = element("td", {class: limit === null ? "none" : "", "data-name": "limit"});
  if (limit === null)
    cell.append(NONE);
  else
    cell.append(element("span", {}, `${ratioText(limit.at_most)} `, kept === null ? "not known yet" : verdict(kept)));
  return cell;
}

function tableOfAll(results, looks) {
  const titles = COLUMNS.map(
      ([name, unit]) =>
          element("th", {scope: "col"}, name, unit === "" ? null : element("span", {class: "unit"}, unit)));
  const rows = results.cases.flatMap(
      (one, index) =>
          [element(
               "tr", {class: "case"},
               element(
                   "th", {colspan: String(COLUMNS.length + 2), scope: "rowgroup"},
                   element("a", {href: `#${anchor(index)}`}, titleOf(one)),
                   element(
                       "span", {class: "soft small"},
                       one.metric ?
                           `  ${metricName(one)}, ${one.smaller_is_better === false ? "larger" : "smaller"} is better` :
                           ""))),
           ...one.levels.map((level) => {
             const found = figures(one, level);
             const cells = COLUMNS.map(([name, unit, value]) => {
               const [main, range = ""] = value(found);
               return element(
                   "td", {class: main === NONE ? "none" : "", "data-name": unit === "" ? name : `${name} (${unit})`},
                   element("span", {}, main, range === "" ? null : element("span", {class: "range"}, range)));
             });
             return element(
                 "tr", {},
                 element(
                     "th", {scope: "row"}, swatch(looks, level.name), level.name,
                     isBaseline(one, level) ? element("span", {class: "soft"}, " (baseline)") : null),
                 ...cells, limitCell(found));
           }),
  ]);
  return element(
      "section", {}, element("h2", {}, "All cases and levels"),
      element(
          "p", {class: "soft small"}, `${NONE}: not reported, or not known yet. What the columns mean stands `,
          element("a", {href: "#glossary"}, "at the end"), "."),
      element(
          "div", {class: "scroll"},
          element(
              "table", {class: "cards"},
              element(
                  "thead", {},
                  element(
                      "tr", {}, element("th", {class: "text", scope: "col"}, "level"), ...titles,
                      element("th", {scope: "col"}, "limit"))),
              element("tbody", {}, ...rows))));
}

/// A chart with its title and what it shows, or null. Charts are drawn when the page stands, since they need their
/// sizes.
function figure({title, about, make, isWide = false}, toDraw) {
  const config = make();
  if (config === null) return null;
  const canvas = element("canvas", {role: "img", "aria-label": `Chart: ${title}. ${about}`});
  const box = element("div", {class: "canvas"}, canvas);
  if (config.rows !== undefined)
    box.style.height = `${Math.max(110 + 24 * config.rows, 180)}px`;
  else if (isWide)
    box.style.height = "380px";
  toDraw.push({canvas, make});
  return element(
      "figure", {class: isWide ? "wide" : ""},
      element("figcaption", {}, element("h3", {}, title), element("p", {}, about)), box);
}

function caseCharts(one, looks, within, toDraw) {
  const name = metricName(one);
  if (one.levels.every((level) => doneRuns(level).length === 0))
    return [element("p", {class: "soft"}, "No charts: no valid run of this case has ended yet.")];
  const wanted = [
    {
      title: "Quality over time",
      about: `${name} of the model as it was at each moment, measured after the run. Thin: every run; thick: the run ` +
          "of the median ratio; dashed: the target, the crossing of which is marked. The axis is cut to show the end: " +
          "runs begin outside it.",
      make: () => qualityChart(one, looks, within),
      isWide: true,
      why: "no run has a curve yet",
    },
    {
      title: "Lag",
      about: "How many sweeps what a step reads is behind what the serial schedule would show it; all runs together.",
      make: () => lagChart(one, looks),
      why: "no run of this case reports the lag of its reads",
    },
    {
      title: "Consistency index C",
      about: "How alike the copies of the factors are, 1: all equal their owner's. Thin: every run; thick: the run of " +
          "the median ratio.",
      make: () => consistencyChart(one, looks),
      why: "no run of this case reports it",
    },
    {
      title: "Time by rank",
      about: "Of each level's run of the median ratio: computing, blocked (a step was not allowed yet), and all else, " +
          "such as waiting for messages or the pace.",
      make: () => timeChart(one),
      why: "no run of this case reports compute or blocked time by rank",
    },
    {
      title: "Bytes sent, by kind of message",
      about: "All ranks together, mean of the valid runs.",
      make: () => bytesChart(one),
      why: "no run of this case reports bytes by kind",
    },
  ];
  const made = wanted.map((chart) => ({...chart, figure: figure(chart, toDraw)}));
  const missing = made.filter((chart) => chart.figure === null);
  return [
    element("div", {class: "charts"}, ...made.map((chart) => chart.figure)),
    ...missing.map(
        ({title, why}) => element(
            "p", {class: "soft small"}, `Left out: ${title.charAt(0).toLowerCase()}${title.slice(1)} (${why}).`))
  ];
}

/// Void and failed runs with their reasons, and valid ones that never reached the target.
function runNotes(one) {
  const notes = one.levels
                    .flatMap((level) => level.runs.map((run) => {
                      const which = `${level.name}, repeat ${number(run.repeat) ?? "?"}: `;
                      if (run.ended !== "done")
                        return `${which}${run.ended}${text(run.why) === "" ? "" : `: ${run.why}`}`;
                      if (number(run.time_to_target) !== null) return null;
                      return hasTarget(one, run) ? `${which}valid, but it never reached the target` :
                                                   `${which}valid, but the baseline has no valid run of this repeat`;
                    }))
                    .filter((note) => note !== null);
  const count = sum(one.levels.map((level) => doneRuns(level).length));
  const all = count === 1 ? "The only run is valid" : `All ${count} runs are valid`;
  if (notes.length === 0) return count === 0 ? null : element("p", {class: "small"}, `${all} and reached the target.`);
  return element(
      "div", {class: "small"}, element("h3", {}, "Runs that do not count, or never reached the target"),
      element("ul", {class: "plain"}, ...notes.map((note) => element("li", {}, note))));
}

function settingsTable(one, looks) {
  const rows = one.levels.map(
      (level) => element(
          "tr", {}, element("th", {scope: "row"}, swatch(looks, level.name), level.name),
          element("td", {class: "text", "data-name": "level"}, text(level.level) || NONE),
          element(
              "td", {"data-name": "most lag allowed"}, number(level.max_lag) === null ? NONE : String(level.max_lag)),
          element(
              "td", {class: "text wrap", "data-name": "settings"},
              list(level.settings).length === 0 ? NONE :
                                                  element("code", {}, list(level.settings).map(text).join(" ")))));
  return element(
      "details", {class: "small"}, element("summary", {}, "Settings of the levels"),
      element(
          "div", {class: "scroll"},
          element(
              "table", {class: "cards"},
              element(
                  "thead", {},
                  element(
                      "tr", {},
                      ...[["level as shown", "text"], ["level", "text"], ["most lag allowed", ""], ["settings", "text"]]
                          .map(([name, kind]) => element("th", {class: kind, scope: "col"}, name)))),
              element("tbody", {}, ...rows))));
}

function caseSection(one, index, looks, within, toDraw) {
  const pace = number(one.pace);
  const ratio = number(one.compute_to_bytes);
  return element(
      "section", {class: "case", id: anchor(index)}, element("h2", {}, titleOf(one)),
      text(one.about) === "" ? null : element("p", {}, text(one.about)), factList([
        [
          "Ranks",
          number(one.ranks) === null ? "" :
                                       `${one.ranks}${
                                           one.encrypted === true      ? ", encrypted connections" :
                                               one.encrypted === false ? ", connections in the clear" :
                                                                         ""}`
        ],
        [
          "Work",
          [
            text(one.data), text(one.solver), number(one.epochs) === null ? "" : plural(one.epochs, "epoch"),
            one.metric ? `${metricName(one)} (${one.smaller_is_better === false ? "larger" : "smaller"} is better)` : ""
          ].filter((part) => part !== "")
              .join(", ")
        ],
        ["Network", networkText(one.network) + (ratio === null ? "" : `; compute : bytes ${ratioText(ratio)}`)],
        ["Stragglers", stragglersText(one.stragglers, one.ranks)],
        [
          "Pace",
          pace ? `each step lasts at least ${pace}${TIMES} its CPU time, as if each rank had a machine of its own` : ""
        ],
        ["Baseline", text(one.baseline)],
      ]),
      ...caseCharts(one, looks, within, toDraw), runNotes(one), settingsTable(one, looks));
}

function networkSection(results, looks, toDraw) {
  const networked = results.cases.filter((one) => one.network !== null && one.network !== undefined);
  if (networked.length < 2) return null;
  const made = figure(
      {
        title: "Ratio over compute : bytes",
        about: "How much of the baseline's time a level needs, where the network is slow against computing (left) and " +
            "fast against it (right). A curve for each level and latency (one way); bars from the lowest to the " +
            "highest repeat.",
        make: () => networkChart(results.cases, looks),
        isWide: true,
      },
      toDraw);
  const leftOut = "Left out: ratio over compute : bytes (fewer than two cases with a network have ratios and a known " +
      "share of computing).";
  return element(
      "section", {}, element("h2", {}, "Over compute, bytes and latency"),
      made === null ? element("p", {class: "soft small"}, leftOut) : element("div", {class: "charts"}, made));
}

function show(results) {
  const looks = new Looks(results.cases);
  const toDraw = [];
  const within = number(results.target_within) ?? 0;
  const parts = [head(results)];
  if (results.cases.length > 0) {
    parts.push(
        inShort(results, looks), tableOfAll(results, looks), networkSection(results, looks, toDraw),
        ...results.cases.map((one, index) => caseSection(one, index, looks, within, toDraw)));
  }
  document.getElementById("page").append(...parts.filter((part) => part !== null));
  useColors();
  for (const {canvas, make} of toDraw) draw(canvas, make);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAgain);
}

show(JSON.parse(document.getElementById("results").textContent));
