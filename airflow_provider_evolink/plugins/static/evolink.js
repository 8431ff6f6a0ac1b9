"use strict";
(() => {
  // The theme is Airflow's, where the page stands in one of its tabs; by itself it follows the system.
  const host = () => {
    try {
      return parent !== window ? parent.document.documentElement : null;
    } catch {
      return null;
    }
  };
  const showTheme = () => {
    const theme = ["light", "dark"].find((name) => host()?.classList.contains(name));
    document.documentElement.className = theme || "";
    const background = host() && getComputedStyle(host()).getPropertyValue("--chakra-colors-bg").trim();
    if (background) {
      document.documentElement.style.setProperty("--bg", background);
    }
  };
  showTheme();
  if (host()) {
    new MutationObserver(showTheme).observe(host(), { attributes: true, attributeFilter: ["class"] });
  }

  const showSessionOver = () => {
    const link = document.getElementById("sign-in");
    const place = host() ? parent.location.href : location.href;
    const banner = document.getElementById("session");
    link.href = banner.dataset.login + "?next=" + encodeURIComponent(place);
    banner.hidden = false;
  };

  // Browsers give pages of plain HTTP no clipboard, so there is the older way as well.
  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  };
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const before = button.textContent;
      button.textContent = (await copied(button.dataset.copy)) ? "Copied" : "Not allowed here";
      button.focus();
      setTimeout(() => { button.textContent = before; }, 1500);
    });
  }

  // What exists as a link of EvoLink only is loaded when the user wants it, and from that host alone.
  for (const place of document.querySelectorAll(".from-link")) {
    place.querySelector("button").addEventListener("click", () => {
      const tag = { image: "img", audio: "audio" }[place.dataset.kind] || "video";
      const element = document.createElement(tag);
      element.src = place.dataset.link;
      element.setAttribute(tag === "img" ? "alt" : "aria-label", place.dataset.name);
      element.addEventListener("error", () => {
        const line = document.createElement("p");
        line.className = "quiet";
        line.textContent = "The link could not be played: it may have expired, or this browser cannot play the file.";
        element.replaceWith(line);
      });
      if (tag !== "img") {
        element.controls = true;
      }
      place.replaceChildren(element);
      if (tag !== "img") {
        element.play().catch(() => {});
      }
    });
  }

  // A frame that cannot be loaded leaves the kind of its media.
  for (const frame of document.querySelectorAll(".frame img")) {
    const showKind = () => { frame.parentElement.textContent = frame.parentElement.dataset.kind; };
    frame.addEventListener("error", showKind);
    if (frame.complete && frame.src && !frame.naturalWidth && frame.loading !== "lazy") {
      showKind();
    }
  }

  // A file that stops playing may do so because the session is over; after a new login it goes on.
  for (const element of document.querySelectorAll("video[src], audio[src]")) {
    let last = 0;
    element.addEventListener("timeupdate", () => { last = element.currentTime; });
    element.addEventListener("error", async () => {
      const response = await fetch(element.src, { headers: { Range: "bytes=0-0" } }).catch(() => null);
      if (response && (response.status === 401 || response.status === 403)) {
        showSessionOver();
        window.addEventListener("focus", () => { element.load(); element.currentTime = last; }, { once: true });
      }
    });
  }

  const clocks = [...document.querySelectorAll(".clock")];
  const showClocks = () => {
    for (const clock of clocks) {
      const left = Math.floor((Date.parse(clock.dataset.until) - Date.now()) / 1000);
      const hours = Math.floor(left / 3600), minutes = Math.floor((left % 3600) / 60);
      clock.textContent = left > 0 ? `(${hours} h ${minutes} min left)` : "(over: reload the page)";
    }
  };
  if (clocks.length) {
    showClocks();
    setInterval(showClocks, 15000);
  }

  const state = document.getElementById("state");
  const showProgress = (jobs) => {
    for (const place of document.querySelectorAll("[data-job]")) {
      const job = jobs[place.dataset.job];
      if (job) {
        place.querySelector("progress").value = job.percent;
        place.querySelector("span").textContent = job.words;
        place.hidden = false;
      }
    }
  };
  const poll = async () => {
    if (!document.hidden) {
      const response = await fetch(state.dataset.url, { headers: { Accept: "application/json" } }).catch(() => null);
      if (response && (response.status === 401 || response.status === 403)) {
        showSessionOver();
        return;
      }
      const now = response && response.ok ? await response.json() : null;
      if (now && (now.state || "") !== state.dataset.state) {
        location.reload();
        return;
      }
      showProgress((now && now.jobs) || {});
    }
    setTimeout(poll, 4000);
  };
  if (state) {
    setTimeout(poll, 500);
  }
})();
