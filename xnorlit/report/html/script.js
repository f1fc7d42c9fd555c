"use strict";
// The page reads without this script; with it, charts show the values under the pointer or the arrow keys.
(function () {
  const record = JSON.parse(document.getElementById("record").textContent);
  const at = (pointer) =>
    pointer.split("/").slice(1).reduce((v, key) => v[key.replace(/~1/g, "/").replace(/~0/g, "~")], record);

  for (const svg of document.querySelectorAll("svg[data-chart]")) {
    const chart = JSON.parse(svg.dataset.chart);
    const out = svg.parentElement.querySelector("output");
    const cursor = svg.querySelector(".cursor");
    const lines = chart.lines.map((line) => ({ label: line.label, ...at(line.at) }));
    const epochs = [...new Set(lines.flatMap((line) => line.epoch))].sort((a, b) => a - b);
    let chosen = -1;

    function show(index) {
      chosen = Math.max(0, Math.min(epochs.length - 1, index));
      const epoch = epochs[chosen];
      const x = chart.left + ((epoch - chart.first) / (chart.last - chart.first)) * (chart.right - chart.left);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
      const values = lines.map((line) => {
        const i = line.epoch.indexOf(epoch);
        const value = i < 0 ? null : line.value[i];
        return `${line.label} ${value === null ? "–" : Number((chart.scale * value).toPrecision(4))}`;
      });
      out.textContent = `${chart.x} ${epoch}: ${values.join(" · ")}`;
    }

    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const epoch = chart.first + ((x - chart.left) / (chart.right - chart.left)) * (chart.last - chart.first);
      show(epochs.reduce((best, e, i) => (Math.abs(e - epoch) < Math.abs(epochs[best] - epoch) ? i : best), 0));
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined || !epochs.length) return;
      event.preventDefault();
      show(chosen < 0 ? (step < 0 ? 0 : epochs.length - 1) : step === -Infinity ? 0 : step === Infinity ? epochs.length - 1 : chosen + step);
    });
  }

  // A frame that needs no scrolling is no stop for the keyboard.
  const frames = document.querySelectorAll(".scroll, pre");
  const stops = () => frames.forEach((frame) => (frame.tabIndex = frame.scrollWidth > frame.clientWidth ? 0 : -1));
  addEventListener("resize", stops);
  document.querySelectorAll("details").forEach((d) => d.addEventListener("toggle", stops));
  stops();

  // What is folded is printed too.
  addEventListener("beforeprint", () => document.querySelectorAll("details.print").forEach((d) => (d.open = true)));
})();
