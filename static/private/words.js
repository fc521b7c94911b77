// Texts of the form as lists and pairs, read as tasks/forms.py reads them.

// A line into words as a POSIX shell does it: what Python's shlex.split answers. Null where a quote is not closed.
export function splitWords(line) {
  const words = [];
  let word = null; // null: between two words
  let quote = "";
  for (let at = 0; at < line.length; at += 1) {
    const character = line[at];
    if (quote === "'" ? character === quote : character === quote && quote) quote = "";
    else if (character === "\\" && quote !== "'") {
      at += 1;
      if (at === line.length) return null;
      // Within double quotes a backslash protects the quote and itself only.
      word = (word ?? "") + (quote && !['"', "\\"].includes(line[at]) ? "\\" : "") + line[at];
    } else if (quote) word += character;
    else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (" \t\r\n".includes(character)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? "") + character;
  }
  if (quote) return null;
  return word === null ? words : [...words, word];
}

// name=value pairs as an object; in place of it the part that is none.
export function readPairs(parts) {
  const pairs = Object.create(null); // so that any name is one
  for (const part of parts.map((each) => each.trim()).filter(Boolean)) {
    const at = part.indexOf("=");
    const name = part.slice(0, Math.max(0, at)).trim();
    if (!name) return { wrong: part.slice(0, 40) };
    pairs[name] = part.slice(at + 1);
  }
  return { pairs };
}
