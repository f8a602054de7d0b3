"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // The state of the connection, in the header.
  function connection(state, text) {
    const link = document.getElementById("link");
    link.dataset.state = state;
    link.firstElementChild.textContent = text;
  }
  document.addEventListener("htmx:sseOpen", () => connection("live", "live"));
  document.addEventListener("htmx:sseError", () => connection("lost", "reconnecting"));

  // The fleet's table: a filter, and columns to sort by. Both stay as they are when rows come anew.
  const order = { key: "rank", down: false };
  let before = new Map();

  function compare(a, b) {
    const x = a.dataset[order.key], y = b.dataset[order.key], n = Number(x) - Number(y);
    const by = x !== "" && y !== "" && !Number.isNaN(n) ? n : x.localeCompare(y);
    return (order.down ? -by : by) || Number(a.dataset.rank) - Number(b.dataset.rank);
  }

  function arrange() {
    const body = document.getElementById("fleet-rows");
    if (!body) return;
    const rows = [...body.rows];
    if (order.key !== "rank" || order.down) body.append(...rows.sort(compare));
    const wanted = document.getElementById("filter").value.trim().toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of rows) {
      const text = row.dataset.find.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    document.getElementById("no-match").hidden = shown > 0;
    for (const head of document.querySelectorAll("#fleet thead th")) {
      const mine = head.firstElementChild.dataset.key === order.key;
      if (mine) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  function remember() {
    const rows = [...(document.getElementById("fleet-rows")?.rows ?? [])];
    return new Map(rows.map((row) => [row.dataset.name, row.textContent]));
  }

  function markChanged() {
    for (const row of document.getElementById("fleet-rows")?.rows ?? [])
      if (before.size && before.get(row.dataset.name) !== row.textContent) row.classList.add("changed");
    before = remember();
  }

  document.addEventListener("input", (event) => { if (event.target.id === "filter") arrange(); });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button?.dataset.key) {
      order.down = order.key === button.dataset.key && !order.down;
      order.key = button.dataset.key;
      arrange();
    }
    if (button?.dataset.copy) copy(button);
  });

  async function copy(button) {
    const place = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(place.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(place);
      button.textContent = "selected: press Ctrl-C";
    }
  }

  // Charts: figures are JSON in the page; a colour such as --accent is that of the style sheet.
  function coloured(value, style) {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((one) => coloured(one, style));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, k === "x" || k === "y" || k === "z" || k === "text" ? v : coloured(v, style)]));
    return value;
  }

  function draw() {
    if (typeof Plotly === "undefined") return;
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim(), grid = style.getPropertyValue("--grid").trim();
    for (const place of document.querySelectorAll(".chart")) {
      const figure = coloured(JSON.parse(document.getElementById(place.dataset.figure).textContent), style);
      const layout = {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", size: 12, color: ink },
        margin: { l: 62, r: 24, t: 24, b: 40 }, hovermode: "x unified", hoverlabel: { bgcolor: style.getPropertyValue("--card").trim(), font: { color: ink } }, ...figure.layout,
      };
      for (const key of Object.keys(layout).filter((k) => /^[xy]axis/.test(k)))
        layout[key] = { gridcolor: grid, linecolor: grid, zerolinecolor: grid, automargin: true, ...layout[key] };
      if (figure.data.some((trace) => trace.type === "heatmap")) layout.hovermode = "closest";
      // Plotly forgets a height when the window is resized, and takes that of the element.
      place.dataset.height = layout.height;
      place.style.minHeight = "0"; // which keeps the room until here
      place.style.height = `${layout.height}px`;
      Plotly.react(place, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
      place.removeAllListeners?.("plotly_click");
      place.on?.("plotly_click", (event) => {
        const to = event.points.map((point) => point.customdata).find((one) => typeof one === "string" && /^\/decisions\/\d+$/.test(one));
        if (to) location.assign(to);
      });
    }
  }

  // A chart keeps the size of the screen on paper, so it is drawn in the width of a page, within its margins and border.
  function resize(width) {
    if (typeof Plotly === "undefined") return;
    for (const place of document.querySelectorAll(".chart.js-plotly-plot")) {
      const height = width ? Number(place.dataset.height) : null;
      Plotly.relayout(place, { width, height, autosize: width === null });
    }
  }
  addEventListener("beforeprint", () => resize(670));
  addEventListener("afterprint", () => resize(null));

  addEventListener("DOMContentLoaded", () => { arrange(); before = remember(); draw(); });
  dark.addEventListener("change", draw);
  document.addEventListener("htmx:afterSwap", () => { arrange(); markChanged(); draw(); });
})();
