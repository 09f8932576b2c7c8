// The operator's page. Every page is whole without this file: it only replaces parts by their ids as
// the server says that they changed (screens/watched_screens.py), keeps times true, copies, and knows
// a few keys.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("script");

  // --- the reader's zone: the server writes the times ------------------------------------------
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && root.dataset.zone !== zone) {
    document.cookie = `slotcast_zone=${encodeURIComponent(zone)};path=/;max-age=31536000;samesite=lax`;
  }

  // --- times that say how long ago ----------------------------------------------------------------
  const spans = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const skew = Date.now() / 1000 - Number(root.dataset.now || Date.now() / 1000);
  function ago(at) {
    const s = Math.max(0, Math.round(Date.now() / 1000 - skew - at));
    const unit = spans.find(([size]) => s >= size) || [1, "s"];
    return `${Math.floor(s / unit[0])} ${unit[1]}`;
  }
  function tick() {
    for (const each of document.querySelectorAll("time.ago")) {
      const text = ago(Number(each.dataset.at));
      if (each.textContent !== text) each.textContent = text;
    }
  }

  // --- replacing: only what differs, so that focus, selection and what is open stay ----------------
  const kept = (node, name) => (name === "open" && node.nodeName === "DETAILS");
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== 1 || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !kept(old, name)) old.setAttribute(name, value);
    }
    if (old.nodeName === "TEXTAREA" || old.matches("time.ago, time.as-of")) return;
    const before = [...old.childNodes], after = [...fresh.childNodes];
    after.forEach((child, at) => {
      if (at < before.length) morph(before[at], child);
      else old.append(document.importNode(child, true));
    });
    before.slice(after.length).forEach((child) => child.remove());
  }

  // A part that holds buttons waits while the pointer or the keyboard is in it: nothing moves under it.
  const waiting = new Map();
  const is_busy = (part) =>
    part.querySelector("button, input, select, textarea") !== null &&
    (part.matches(":hover") || part.querySelector(":hover") !== null || part.contains(document.activeElement));
  function put(id, html) {
    const part = document.getElementById(id);
    if (!part) return;
    if (is_busy(part)) {
      waiting.set(id, html);
      return;
    }
    waiting.delete(id);
    const holder = document.createElement("template");
    holder.innerHTML = html;
    if (holder.content.firstElementChild) morph(part, holder.content.firstElementChild);
    tick();
  }
  const put_waiting = () => [...waiting].forEach(([id, html]) => put(id, html));
  document.addEventListener("pointerout", () => setTimeout(put_waiting, 300));
  document.addEventListener("focusout", () => setTimeout(put_waiting, 300));

  // --- live -----------------------------------------------------------------------------------------
  const live = document.body.dataset.live;
  const word = document.getElementById("live");
  let heard = Date.now(), source = null, tries = 0;
  function say() {
    if (!word) return;
    const age = Math.round((Date.now() - heard) / 1000);
    const is_live = source !== null && source.readyState === 1 && age < 15;
    word.className = is_live ? "s done" : "s gone";
    word.textContent = is_live ? "live" : `not live, ${ago(heard / 1000 - skew)} old`;
  }
  function listen() {
    const have = [...document.querySelectorAll("[data-v]")].map((part) => `${part.id}:${part.dataset.v}`);
    const url = new URL(live, location.href);
    url.searchParams.set("have", have.join(","));
    source = new EventSource(url);
    source.addEventListener("part", (event) => {
      const { id, html } = JSON.parse(event.data);
      put(id, html);
    });
    source.addEventListener("head", (event) => {
      const { title, icon } = JSON.parse(event.data);
      document.title = title;
      document.getElementById("icon").href = icon;
    });
    source.addEventListener("alive", (event) => {
      heard = Date.now();
      tries = 0;
      const { as_of } = JSON.parse(event.data);
      for (const each of document.querySelectorAll("time.as-of")) if (as_of) each.textContent = as_of;
      say();
    });
    source.addEventListener("gone", () => location.reload());
    source.onerror = () => {
      source.close();
      source = null;
      tries += 1;
      setTimeout(listen, Math.min(30000, 500 * 2 ** tries) * (0.5 + Math.random()));
      say();
    };
  }
  if (live) listen();
  addEventListener("pagehide", () => { if (source) source.close(); });
  setInterval(() => { tick(); if (live) say(); }, 1000);

  // --- copying ----------------------------------------------------------------------------------------
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      const text = button.parentElement.querySelector("code");
      if (text) getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });

  // --- keys: / finds, g and a letter goes to a screen, ? lists them -------------------------------------
  const places = { f: "/", d: "/devices", r: "/rollouts", l: "/releases", a: "/users" };
  const is_place = (href) => document.querySelector(`.top nav a[href="${href}"]`) !== null;
  let after_g = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/") {
      const field = document.querySelector("#find");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    } else if (event.key === "?") {
      const keys = document.getElementById("keys");
      if (keys) keys.open = !keys.open;
    } else if (event.key === "g") {
      after_g = Date.now();
    } else if (Date.now() - after_g < 1500 && places[event.key] && is_place(places[event.key])) {
      location.assign(places[event.key]);
    }
  });

  // --- on paper, what opens is open -----------------------------------------------------------------------
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("main details:not([open]):not(.ask)")) {
      each.open = true;
      each.dataset.closed = "";
    }
  });
  addEventListener("afterprint", () => {
    for (const each of document.querySelectorAll("details[data-closed]")) {
      each.open = false;
      delete each.dataset.closed;
    }
  });
})();
