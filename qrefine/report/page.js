"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;
  root.classList.add("scripted");

  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  for (const slider of all(".frame input")) {
    slider.addEventListener("input", () => slider.parentElement.style.setProperty("--cut", slider.value + "%"));
  }

  // one class on a card shows its map or its detail; the buttons in the tool bar do it for all cards
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";
  const toggle = (kind, card, on) => {
    card.classList.toggle("show-" + kind, on);
    all("button." + kind, card).forEach((button) => press(button, on));
  };
  for (const kind of ["map", "detail"]) {
    const everyone = document.getElementById(`all-${kind}s`);
    everyone.addEventListener("click", () => {
      press(everyone, !pressed(everyone));
      all(".card").forEach((card) => toggle(kind, card, pressed(everyone)));
    });
    for (const button of all(`.card button.${kind}`)) {
      button.addEventListener("click", () => toggle(kind, button.closest(".card"), !pressed(button)));
    }
  }

  const tabs = all("[role=tab]");
  const open = (tab) => {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).classList.toggle("open", other === tab);
    }
  };
  tabs.forEach((tab, position) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: position + 1, ArrowLeft: position - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs[(to + tabs.length) % tabs.length];
      open(next);
      next.focus();
    });
  });

  const step = (by) => {
    const cards = all(".view.open .card");
    const here = cards.indexOf(document.activeElement?.closest(".card"));
    const card = cards[here < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, here + by))];
    (card?.querySelector(".frame:not(.detail) input") ?? card)?.focus();
    card?.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "m") document.getElementById("all-maps").click();
    if (event.key === "d") document.getElementById("all-details").click();
    if (event.key === "j") step(1);
    if (event.key === "k") step(-1);
  });

  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = Number(text.replaceAll(",", ""));
    return text === "–" ? -Infinity : text !== "" && Number.isFinite(number) ? number : text;
  };
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = all("tbody tr", table).sort((a, b) => {
          const [x, y] = [value(a, column), value(b, column)];
          return (x > y ? 1 : x < y ? -1 : 0) * (up ? 1 : -1);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
})();
