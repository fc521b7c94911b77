// The course of a node's load, drawn anew whenever the panel pushes it.
"use strict";

const canvas = document.getElementById("load-chart");
const timeOfDay = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
let chart = null;

// Custom properties hold light-dark(); a probe element turns one into the colour of this theme.
function resolved(variable) {
  const probe = document.createElement("i");
  probe.style.color = `var(${variable})`;
  canvas.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function line(name, variable, at, values) {
  return {
    name,
    type: "line",
    showSymbol: false,
    data: at.map((moment, i) => [moment, values[i]]),
    lineStyle: { width: 1.8, color: resolved(variable) },
    itemStyle: { color: resolved(variable) },
    areaStyle: { opacity: 0.08, color: resolved(variable) },
  };
}

function options(course) {
  const ink = resolved("--fog-ink");
  const muted = resolved("--fog-muted");
  const rule = resolved("--fog-line");
  const latest = Date.now();
  return {
    animation: false,
    grid: { left: 36, right: 12, top: 30, bottom: 24 },
    legend: { top: 0, left: 0, itemWidth: 14, itemHeight: 3, icon: "rect", textStyle: { color: muted } },
    tooltip: {
      trigger: "axis",
      renderMode: "richText",
      backgroundColor: resolved("--fog-card"),
      borderColor: rule,
      textStyle: { color: ink, fontSize: 12 },
      formatter: (points) => [
        timeOfDay.format(points[0].value[0]),
        ...points.map((point) => `${point.seriesName}  ${point.value[1] === null ? "silent" : `${point.value[1]} %`}`),
      ].join("\n"),
    },
    xAxis: {
      type: "time",
      min: latest - 15 * 60_000,
      max: latest,
      axisLine: { lineStyle: { color: rule } },
      axisLabel: { color: muted, hideOverlap: true, formatter: (at) => timeOfDay.format(at).slice(0, 5) },
    },
    yAxis: {
      type: "value",
      min: 0,
      max: 100,
      interval: 25,
      axisLabel: { color: muted },
      splitLine: { lineStyle: { color: rule } },
    },
    series: [
      line("CPU", "--fog-accent", course.at, course.cpu),
      line("Memory", "--fog-busy", course.at, course.memory),
    ],
  };
}

function draw() {
  const course = JSON.parse(document.getElementById("load-course").dataset.course);
  chart ??= echarts.init(canvas, null, { renderer: "canvas" });
  chart.setOption(options(course), { notMerge: true });
}

if (canvas && window.echarts) {
  draw();
  document.addEventListener("htmx:wsAfterMessage", draw);
  document.addEventListener("fog:theme", draw);
  new ResizeObserver(() => chart.resize()).observe(canvas);
}
