// Amounts in words, as the pages write them (fogpanel/templatetags/fog.py, and Django's filesizeformat).

export function duration(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 0.01) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1).replace(/\.0$/, "")} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`.replace(/ 0 s$/, "");
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`.replace(/ 0 min$/, "");
}

export function amount(bytes) {
  if (bytes < 1024) return `${Math.round(bytes)}\u00a0byte${Math.round(bytes) === 1 ? "" : "s"}`;
  let [value, unit] = [bytes / 1024, "KB"];
  for (const larger of ["MB", "GB"]) if (value >= 1024) [value, unit] = [value / 1024, larger];
  return `${value.toFixed(1)}\u00a0${unit}`;
}

export const times = (count) => (count === 1 ? "once" : `${count} times`);
