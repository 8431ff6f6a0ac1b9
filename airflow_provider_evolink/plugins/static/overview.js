"use strict";
(() => {
  const canvas = document.getElementById("plot");
  if (!canvas) {
    return;
  }
  const { labels, series } = JSON.parse(canvas.dataset.plot);
  const colors = ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#72b7b2", "#eeca3b", "#8c8c8c"];
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const datasets = series.map(({ label, data }, number) => ({ label, data, backgroundColor: colors[number % colors.length] }));
  const axis = () => ({ stacked: true, ticks: { color: color("--quiet") }, grid: { color: color("--border") } });
  const options = () => ({
    animation: false,
    maintainAspectRatio: false,
    scales: { x: axis(), y: { ...axis(), beginAtZero: true, title: { display: true, text: "credits", color: color("--quiet") } } },
    plugins: { legend: { position: "bottom", labels: { color: color("--fg") } } },
  });
  const plot = new Chart(canvas, { type: "bar", data: { labels, datasets }, options: options() });
  const redraw = () => {
    plot.options = options();
    plot.update();
  };
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
