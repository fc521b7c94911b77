// This browser's database for this site (IndexedDB). What is done within a transaction is on the disk once it is done.

const NAME = "fogpanel";
const VERSION = 1;
const ANSWER_MS = 10_000; // another tab that changes the database holds it for a moment
export const TASKS = "tasks"; // the keys of each sealed task, by content_sha256
export const PANEL = "panel";

// It does not keep, or does not give, what it should. The message is a sentence; the cause is what the browser said.
export class Unkept extends Error {}

const SENTENCES = {
  QuotaExceededError: "This browser has no room left for keys. Free some room on this machine, or delete keys of tasks that are done with.",
  VersionError: "Newer pages of this panel were open in this browser, which keep keys otherwise. Reload this page.",
  TimeoutError: "This browser does not give its data for this site; another tab may hold it. Close other tabs of this panel and reload this page.",
};
const OTHERWISE = "This browser keeps no data for this site, so the keys would be lost with the page.";

// What `work` makes of the store. Raises Unkept.
export async function within(store, mode, work) {
  try {
    return await transacted(await opened(), store, mode, work);
  } catch (error) {
    throw new Unkept(SENTENCES[error?.name] ?? OTHERWISE, { cause: error });
  }
}

export const answer = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    let isLate = false;
    const waiting = setTimeout(() => {
      isLate = true;
      reject(new DOMException("no answer", "TimeoutError"));
    }, ANSWER_MS);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(TASKS, { keyPath: "content_sha256" });
      request.result.createObjectStore(PANEL);
    };
    request.onsuccess = () => {
      clearTimeout(waiting);
      if (isLate) request.result.close(); // or it would keep others waiting
      else resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
}

// What `work` returns is waited for, and so is that it is on the disk.
async function transacted(database, store, mode, work) {
  try {
    const transaction = database.transaction(store, mode, { durability: "strict" });
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [found] = await Promise.all([work(transaction.objectStore(store)), ended]);
    return found;
  } finally {
    database.close();
  }
}
