// The live part of a run's page: the logs, read as they grow, and the summary until the run is over.
"use strict";

const LIMIT = 65536;
const BEGIN = 2, END = 3;
const PAUSE_MILLISECONDS = 1000;

const pause = () => new Promise((done) => setTimeout(done, PAUSE_MILLISECONDS));

// Structured logs are JSON lines of which people want the message.
function readable(line) {
  if (!line.startsWith("{")) return line;
  try {
    const entry = JSON.parse(line);
    return entry["@message"] ?? line;
  } catch {
    return line;
  }
}

async function follow(element) {
  const decoder = new TextDecoder();
  let offset = 0, rest = "";
  for (;;) {
    const response = await fetch(`${element.dataset.log}?limit=${LIMIT}&offset=${offset}`).catch(() => null);
    if (response === null || !response.ok) { await pause(); continue; }
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length === 0) { await pause(); continue; }
    offset += bytes.length;
    const isLast = bytes[bytes.length - 1] === END;
    const lines = (rest + decoder.decode(bytes.filter((byte) => byte !== BEGIN && byte !== END), { stream: true })).split("\n");
    rest = lines.pop();
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
    element.append(lines.map((line) => readable(line) + "\n").join(""));
    if (atEnd) element.scrollTop = element.scrollHeight;
    if (isLast) { element.append(readable(rest)); return; }
  }
}

async function watch(element) {
  while (element.querySelector("[data-final=true]") === null) {
    await pause();
    const response = await fetch(`${location.pathname}/summary`).catch(() => null);
    if (response?.ok) element.innerHTML = await response.text();
  }
}

for (const element of document.querySelectorAll("[data-log]")) follow(element);
watch(document.getElementById("summary"));
