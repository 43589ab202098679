"use strict";
// The charts, by Chart.js: each function gives what a chart shows, or null where there is nothing to show. `draw` puts
// it on a canvas, again whenever colors change. Levels are told apart by color, dash and the shape of their points.

const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [5, 2], [1, 2], [12, 4]];
const SHAPES = ["circle", "triangle", "rect", "rectRot", "star", "cross", "crossRot"];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const faint = (hex) => `${hex}80`;

/// The look of each level, by its place among the names of all cases' levels.
class Looks {
  constructor(cases) { this.names = [...new Set(cases.flatMap((one) => one.levels.map((level) => level.name)))]; }
  index(name) { return Math.max(this.names.indexOf(name), 0); }
  color(name) { return color(this.variable(name)); }
  variable(name) { return `level-${this.index(name) % 7}`; }
  dash(name) { return DASHES[this.index(name) % DASHES.length]; }
  shape(name) { return SHAPES[this.index(name) % SHAPES.length]; }
}

const partColor = (index) => color(`part-${index % 7}`);

/// Bounds that are no round numbers get no label.
function axis(title, more = {}) {
  return {title: {display: true, text: title}, grid: {color: color("line")}, ticks: {includeBounds: false}, ...more};
}

/// Vertical bars from `low` to `high` of each point that has them.
const errorBars = {
  id: "errorBars",
  afterDatasetsDraw(chart) {
    const {ctx, scales: {y}, chartArea: area} = chart;
    chart.data.datasets.forEach((dataset, k) => {
      if (!chart.isDatasetVisible(k)) return;
      chart.getDatasetMeta(k).data.forEach((element, at) => {
        const {low, high} = dataset.data[at];
        if (low === undefined || low === high) return;
        const [top, bottom] = [y.getPixelForValue(high), y.getPixelForValue(low)];
        ctx.save();
        ctx.beginPath();
        ctx.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
        ctx.clip();
        ctx.strokeStyle = dataset.borderColor;
        ctx.lineWidth = 1.5;
        ctx.beginPath();
        ctx.moveTo(element.x, top);
        ctx.lineTo(element.x, bottom);
        for (const end of [top, bottom]) {
          ctx.moveTo(element.x - 4, end);
          ctx.lineTo(element.x + 4, end);
        }
        ctx.stroke();
        ctx.restore();
      });
    });
  },
};

/// Options that all charts share.
function options(x, y, more = {}) {
  const {plugins = {}, ...others} = more;
  return {
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    color: color("text"),
    interaction: {mode: "nearest", intersect: false},
    scales: {x, y},
    ...others,
    plugins: {
      ...plugins,
      legend: {
        position: "top",
        align: "start",
        ...plugins.legend,
        labels: {
          usePointStyle: true,
          pointStyleWidth: 34,
          boxHeight: 7,
          padding: 12,
          color: color("text"),
          ...plugins.legend?.labels
        }
      },
    },
  };
}

/// Curves of all valid runs: thin, and thick for the run that stands for the level.
function curves(one, looks, pointsOf) {
  const datasets = [];
  for (const level of one.levels) {
    const middle = medianRun(level);
    for (const run of doneRuns(level)) {
      const data = pointsOf(run);
      if (data.length === 0) continue;
      const isMiddle = run === middle;
      const stroke = looks.color(level.name);
      datasets.push({
        label: level.name,
        data,
        showLine: true,
        isMiddle,
        borderColor: isMiddle ? stroke : faint(stroke),
        backgroundColor: stroke,
        borderWidth: isMiddle ? 2.5 : 1,
        borderDash: looks.dash(level.name),
        pointRadius: 0,
        pointHitRadius: isMiddle ? 6 : 0,
        pointStyle: "line",
        order: isMiddle ? 1 : 2,
      });
    }
  }
  return datasets;
}

/// A legend with the dash of each line, which Chart.js leaves out beside the shapes of points.
const lineLegend = {
  labels: {
    generateLabels: (chart) =>
        chart.data.datasets
            .map((dataset, k) => ({
                   text: dataset.label,
                   datasetIndex: k,
                   hidden: !chart.isDatasetVisible(k),
                   fontColor: color("text"),
                   fillStyle: dataset.backgroundColor,
                   strokeStyle: dataset.borderColor,
                   lineWidth: 2,
                   lineDash: dataset.borderDash ?? [],
                   pointStyle: "line"
                 }))
            .filter(({datasetIndex: k}) => chart.data.datasets[k].inLegend || chart.data.datasets[k].isMiddle)
  }
};

/// A click on a level's name hides all of its runs.
function toggleLevel(_, item, legend) {
  const chart = legend.chart;
  const visible = chart.isDatasetVisible(item.datasetIndex);
  chart.data.datasets.forEach((dataset, k) => {
    if (dataset.label === item.text) chart.setDatasetVisibility(k, !visible);
  });
  chart.update();
}

/// What a curve shows at 50 moments, equally far apart: its points are denser near the target.
function atEqualTimes(data) {
  const end = data[data.length - 1].x;
  return Array.from({length: 50}, (_, k) => {
    const known = data.filter(({x}) => x <= end * (k + 1) / 50);
    return (known[known.length - 1] ?? data[0]).y;
  });
}

/// The part of the metric's axis that is worth seeing: runs start far from where they end, and levels differ at the
/// end. What half of all moments lie beyond is cut off.
function qualityRange(datasets, target, smallerIsBetter, within) {
  const values = datasets.flatMap(({data}) => atEqualTimes(data)).concat(target === null ? [] : [target]);
  const best = smallerIsBetter ? Math.min(...values) : Math.max(...values);
  const distances = values.map((value) => Math.abs(value - best));
  const goal = target ?? best;
  const ends = datasets.map(({data}) => Math.abs(data[data.length - 1].y - best));
  const reach = Math.max(median(distances), 6 * within * Math.abs(goal), Math.abs(goal - best) * 1.5, ...ends, 1e-12);
  const margin = 0.06 * reach;
  return smallerIsBetter ? {min: best - margin, max: best + reach} : {min: best - reach, max: best + margin};
}

/// The median of what the baseline ended with, and what is still taken for it.
function targetOf(one, within) {
  const baseline = one.levels.find((level) => isBaseline(one, level));
  const final = baseline === undefined ? null : range(object(baseline.summary).final_metric);
  if (final === null) return null;
  return final.median + (one.smaller_is_better === false ? -1 : 1) * within * Math.abs(final.median);
}

function qualityChart(one, looks, within) {
  const datasets = curves(one, looks, (run) => points(run.curve));
  if (datasets.length === 0) return null;
  const target = targetOf(one, within);
  const shown = qualityRange(datasets, target, one.smaller_is_better !== false, within);
  const end = Math.max(...datasets.map(({data}) => data[data.length - 1].x));
  if (target !== null) {
    datasets.push({
      label: "target",
      data: [{x: 0, y: target}, {x: end, y: target}],
      showLine: true,
      inLegend: true,
      borderColor: color("soft"),
      borderWidth: 1.5,
      borderDash: [4, 4],
      pointRadius: 0,
      pointHitRadius: 0,
      pointStyle: "line",
      order: 3
    });
    for (const level of one.levels) {
      const time = number(medianRun(level)?.time_to_target);
      if (time === null) continue;
      datasets.push({
        label: level.name,
        data: [{x: time, y: target}],
        isReached: true,
        borderColor: looks.color(level.name),
        backgroundColor: color("panel"),
        borderWidth: 2.5,
        pointRadius: 6,
        pointHoverRadius: 6,
        pointStyle: looks.shape(level.name),
        order: 0
      });
    }
  }
  return {
    type: "scatter",
    data: {datasets},
    options: options(axis("seconds of training", {min: 0, max: end}), axis(metricName(one), shown), {
      plugins: {
        legend: {...lineLegend, onClick: toggleLevel},
        tooltip: {
          callbacks: {
            label: ({dataset, parsed}) => dataset.isReached ?
                `${dataset.label} reaches the target after ${threeDigits(parsed.x)} s` :
                `${dataset.label}: ${metricText(parsed.y)} after ${threeDigits(parsed.x)} s`
          }
        },
      },
    }),
  };
}

function consistencyChart(one, looks) {
  const datasets = curves(one, looks, (run) => points(run.consistency_index));
  if (datasets.length === 0) return null;
  const least = Math.min(...datasets.flatMap(({data}) => data.map(({y}) => y)));
  const margin = Math.max(0.05 * (1 - least), 1e-4);
  return {
    type: "scatter",
    data: {datasets},
    options: options(
        axis("seconds of training", {min: 0}), axis("consistency index C", {min: Math.max(least - margin, 0), max: 1}),
        {
          plugins: {
            legend: {...lineLegend, onClick: toggleLevel},
            tooltip: {
              callbacks: {
                label: ({dataset, parsed}) =>
                    `${dataset.label}: C = ${metricText(parsed.y)} after ${threeDigits(parsed.x)} s`
              }
            },
          },
        }),
  };
}

/// Lags from here on share a bar.
const MOST_LAG = 12;

function lagChart(one, looks) {
  const levels =
      one.levels.map((level) => ({name: level.name, counts: Array.from(lagCounts(level), (count) => count ?? 0)}))
          .filter(({counts}) => sum(counts) > 0);
  if (levels.length === 0) return null;
  const last = Math.min(Math.max(...levels.map(({counts}) => counts.length)) - 1, MOST_LAG);
  const isCut = levels.some(({counts}) => counts.length - 1 > MOST_LAG);
  const labels = Array.from({length: last + 1}, (_, lag) => (isCut && lag === last ? `${lag}+` : String(lag)));
  const datasets = levels.map(
      ({name, counts}) => ({
        label: name,
        backgroundColor: looks.color(name),
        pointStyle: "rect",
        data: labels.map((_, lag) => 100 * (lag === last ? sum(counts.slice(lag)) : counts[lag] ?? 0) / sum(counts)),
      }));
  return {
    type: "bar",
    data: {labels, datasets},
    options: options(axis("lag in sweeps", {grid: {display: false}}), axis("% of reads", {min: 0}), {
      plugins: {
        legend: {labels: {pointStyleWidth: 12}},
        tooltip: {callbacks: {label: ({dataset, parsed}) => `${dataset.label}: ${threeDigits(parsed.y)} % of reads`}}
      },
    }),
  };
}

/// Mean over valid runs, so that the kinds add up to what was sent.
function bytesChart(one) {
  const levels = one.levels
                     .map((level) => ({
                            name: level.name,
                            runs: doneRuns(level)
                                      .map((run) => object(run.bytes_by_kind))
                                      .filter((kinds) => sum(numbers(Object.values(kinds))) > 0)
                          }))
                     .filter(({runs}) => runs.length > 0);
  if (levels.length === 0) return null;
  const mean = ({runs}, kind) => sum(runs.map((kinds) => number(kinds[kind]) ?? 0)) / runs.length;
  const kinds = [...new Set(levels.flatMap(({runs}) => runs.flatMap(Object.keys)))].filter(
      (kind) => levels.some((level) => mean(level, kind) > 0));
  const [unit, size] = unitOfBytes(Math.max(...levels.map((level) => sum(kinds.map((kind) => mean(level, kind))))));
  const datasets = kinds.map((kind, k) => ({
                               label: kind,
                               backgroundColor: partColor(k),
                               borderColor: color("panel"),
                               borderWidth: 1,
                               pointStyle: "rect",
                               maxBarThickness: 44,
                               data: levels.map((level) => mean(level, kind) / size),
                             }));
  return {
    type: "bar",
    rows: levels.length,
    data: {labels: levels.map(({name}) => name), datasets},
    options: options(axis(`${unit}, all ranks`, {stacked: true, min: 0}), {stacked: true, grid: {display: false}}, {
      indexAxis: "y",
      interaction: {mode: "index", axis: "y", intersect: false},
      plugins: {
        legend: {labels: {pointStyleWidth: 12}},
        tooltip: {callbacks: {label: ({dataset, parsed}) => `${dataset.label}: ${threeDigits(parsed.x)} ${unit}`}}
      },
    }),
  };
}

/// A bar for each rank of each level's run of the median ratio.
function timeChart(one) {
  const rows = [];
  for (const level of one.levels) {
    const run = medianRun(level);
    if (run === null || number(run.seconds) === null) continue;
    const compute = numbers(run.compute_seconds);
    const blocked = numbers(run.blocked_seconds);
    for (let rank = 0; rank < Math.max(compute.length, blocked.length); ++rank) {
      const parts = [compute[rank] ?? 0, blocked[rank] ?? 0];
      rows.push({label: `${level.name}, rank ${rank}`, parts: [...parts, Math.max(run.seconds - sum(parts), 0)]});
    }
  }
  if (rows.length === 0) return null;
  const names = ["compute", "blocked", "other"];
  const datasets = names.map((name, part) => ({
                               label: name,
                               backgroundColor: name === "other" ? color("part-rest") : partColor(part),
                               borderColor: color("panel"),
                               borderWidth: 1,
                               pointStyle: "rect",
                               data: rows.map(({parts}) => parts[part]),
                             }));
  return {
    type: "bar",
    rows: rows.length,
    data: {labels: rows.map(({label}) => label), datasets},
    options: options(
        axis("seconds of training", {stacked: true, min: 0}),
        {stacked: true, grid: {display: false}, ticks: {autoSkip: false}}, {
          indexAxis: "y",
          interaction: {mode: "index", axis: "y", intersect: false},
          plugins: {
            legend: {labels: {pointStyleWidth: 12}},
            tooltip: {callbacks: {label: ({dataset, parsed}) => `${dataset.label}: ${threeDigits(parsed.x)} s`}}
          },
        }),
  };
}

/// The ratio of each level but the baseline over compute : bytes, a curve for each latency. Null for fewer than two
/// cases.
function networkChart(cases, looks) {
  const networked =
      cases.filter((one) => number(object(one.network).delay_ms) !== null && number(one.compute_to_bytes) > 0);
  const delays = [...new Set(networked.map((one) => one.network.delay_ms))].sort((a, b) => a - b);
  const datasets = [];
  for (const name of looks.names) {
    for (const [at, delay] of delays.entries()) {
      const data = [];
      for (const one of networked.filter(({network}) => network.delay_ms === delay)) {
        const level = one.levels.find((other) => other.name === name && !isBaseline(one, other));
        const ratio = level === undefined ? null : range(object(level.summary).ratio);
        if (ratio !== null)
          data.push({
            x: one.compute_to_bytes,
            y: ratio.median,
            low: ratio.low,
            high: ratio.high,
            title: titleOf(one),
            network: networkText(one.network)
          });
      }
      if (data.length === 0) continue;
      const stroke = looks.color(name);
      datasets.push({
        label: `${name}, ${delay} ms`,
        data: data.sort((a, b) => a.x - b.x),
        showLine: true,
        borderColor: stroke,
        backgroundColor: stroke,
        borderWidth: 2,
        borderDash: DASHES[at % DASHES.length],
        pointStyle: SHAPES[(looks.index(name) + at) % SHAPES.length],
        pointRadius: 5,
        inLegend: true
      });
    }
  }
  const xs = datasets.flatMap(({data}) => data.map(({x}) => x));
  if (new Set(xs).size < 2) return null;
  const [low, high] = [Math.min(...xs) / 1.3, Math.max(...xs) * 1.3];
  const highest = Math.max(1, ...datasets.flatMap(({data}) => data.map(({high: top}) => top)));
  datasets.push({
    label: "as long as the baseline",
    data: [{x: low, y: 1}, {x: high, y: 1}],
    showLine: true,
    inLegend: true,
    borderColor: color("soft"),
    borderWidth: 1.5,
    borderDash: [4, 4],
    pointRadius: 0,
    pointHitRadius: 0,
    pointStyle: "line"
  });
  const ticks =
      [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100].filter((value) => value >= low && value <= high);
  return {
    type: "scatter",
    data: {datasets},
    plugins: [errorBars],
    options: options(
        axis("compute : bytes, seconds of computing for a second of sending (log scale)", {
          type: "logarithmic",
          min: low,
          max: high,
          afterBuildTicks: (scale) => {
            if (ticks.length > 1) scale.ticks = ticks.map((value) => ({value}));
          },
          ticks: {callback: (value) => String(Number(value.toPrecision(2)))}
        }),
        axis("ratio to the baseline's time", {min: 0, max: 1.1 * highest}), {
          plugins: {
            legend: lineLegend,
            tooltip: {
              callbacks: {
                label: ({dataset, raw}) => raw.title === undefined ?
                    dataset.label :
                    `${dataset.label}: ${ratioText(raw.y)} (${ratioText(raw.low)}${NONE}${ratioText(raw.high)}), ${
                        raw.title}, ${raw.network}`
              }
            }
          },
        }),
  };
}

/// Pairs of a canvas and the function that makes its chart; all are drawn again in other colors when the theme changes.
const drawn = [];

function draw(canvas, make) { drawn.push({canvas, make, chart: new Chart(canvas, make())}); }

function drawAgain() {
  useColors();
  for (const one of drawn) {
    one.chart.destroy();
    one.chart = new Chart(one.canvas, one.make());
  }
}

function useColors() {
  Chart.defaults.color = color("text");
  Chart.defaults.borderColor = color("line");
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 12;
}
