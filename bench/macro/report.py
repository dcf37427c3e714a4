"""How it is told: a table, and a plot of the ratios."""

import os
import platform
import subprocess

UNITS = {"rate": (1, "/s", 0), "bytes_per_s": (1e-9, "GB/s", 2), "p50_us": (1, "us", 1), "p99_us": (1, "us", 1), "first_p50_us": (1, "us", 1),
         "bytes_each": (1 / 1024, "KiB", 2), "proxy_cpu": (100, "% of a core", 2), "cpu_per_gb": (1e3, "ms/GB", 0), "cpu_per_request": (1, "us/req", 2),
         "bytes_per_near_cpu_s": (1e-9, "GB/CPU s", 2), "bytes_per_far_cpu_s": (1e-9, "GB/CPU s", 2),
         "seconds": (1, "s", 2), "bytes": (1e-6, "MB", 0), "ms_per_s": (1, "ms/s", 1),
         "per_s": (1, "/s", 2)}


def _first_line(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).splitlines()[0]
    except (OSError, IndexError):
        return "not found"


def machine(is_awake):
    """What the figures were measured on."""
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "processors": os.cpu_count(), "kernel": platform.release(), "kept_awake": is_awake,
            "load_average": os.getloadavg()[0], "haproxy": _first_line(["haproxy", "-v"]),
            "nginx": _first_line(["nginx", "-v"]), "openssl": _first_line(["openssl", "version"])}


def number(figure, value):
    scale, unit, digits = UNITS[figure]
    return f"{value * scale:,.{digits}f} {unit}"


def table(everything):
    """The plain text of a run."""
    about = everything["machine"]
    lines = [f"{about['cpu']}, {about['processors']} processors, Linux {about['kernel']}, load {about['load_average']:.2f}"
             + ("" if about["kept_awake"] else ", PROCESSORS MAY SLEEP: latencies mean little"),
             f"{about['haproxy']}; {about['nginx']}; {about['openssl']}",
             f"median of {everything['rounds']} interleaved windows of {everything['seconds']:g} s (least to most); "
             f"proxies on one core, load and backend on the other; under 5 % is no difference"]
    if everything["noisy_windows"]:
        lines.append(f"{everything['noisy_windows']} windows were disturbed by others on the machine, and could not be "
                     "measured again undisturbed")
    for row in everything["rows"]:
        lines += ["", f"{row['name']}: {row['what']}" + (f"  [ztunnel: {row['ztunnel']}]" if row["ztunnel"] else "")]
        for proxy, of in row["proxies"].items():
            lines.append(f"  {proxy:12} {number(row['figure'], of['value']):>16}  "
                         f"({number(row['figure'], of['least'])} to {number(row['figure'], of['most'])})"
                         f"  proxies used {of['proxy_cpu']:.2f} core")
        for goal in row["goals"]:
            wanted = f"{'at least' if row['more_is_better'] else 'at most'} {goal['goal']:g}"
            lines.append(f"  -> {goal['ratio']:.2f} times {goal['peer']} (goal {wanted}: {'met' if goal['met'] else 'NOT met'})")
    return "\n".join(lines)


def markdown(everything):
    """The table of docs/performance.md: a row a line, a proxy a column."""
    columns = {"ours": ("ours",), "ours, no audit log": ("ours-unlogged",), "haproxy": ("haproxy",), "haproxy-64k": ("haproxy-64k",), "nginx": ("nginx", "nginx-http"),
               "haproxy, HTTP": ("haproxy-h2", "haproxy-http"), "direct": ("direct",), "before": ("before",)}
    lines = ["| row | " + " | ".join(columns) + " | ratio (goal) |", "|---" * (len(columns) + 2) + "|"]
    for row in everything["rows"]:
        cells = [next((number(row["figure"], row["proxies"][one]["value"]) for one in names if one in row["proxies"]), "")
                 for names in columns.values()]
        sign = "" if row["more_is_better"] else "at most "
        goals = ", ".join(f"{'' if goal['met'] else '**'}{goal['ratio']:.2f}{'' if goal['met'] else '**'} {goal['peer']} "
                          f"({sign}{goal['goal']:g})" for goal in row["goals"])
        lines.append(f"| {row['name']} | " + " | ".join(cells) + f" | {goals} |")
    about = everything["machine"]
    lines += ["", f"{about['cpu']}, {about['processors']} processors, Linux {about['kernel']}, {about['haproxy']}, "
              f"{about['nginx']}, {about['openssl']}; {everything['rounds']} windows of {everything['seconds']:g} s, "
              f"{everything['noisy_windows']} of them disturbed; load average at the start {about['load_average']:.2f}."]
    return "\n".join(lines)


def svg(everything):
    """Bars: how ours stands to the best peer of each goal, as a share of the goal. 1.0 is the goal."""
    bars = [(f"{row['name']} / {goal['peer']}",
             goal["ratio"] / goal["goal"] if row["more_is_better"] else goal["goal"] / max(goal["ratio"], 1e-9))
            for row in everything["rows"] for goal in row["goals"]]
    height, left, scale, most = 22, 330, 220, 2.0
    total = 50 + height * len(bars)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + int(scale * most) + 70}" height="{total}" '
             'font-family="sans-serif" font-size="12">',
             f'<text x="10" y="18">share of the goal that is reached (the line is the goal); the machine: '
             f'{everything["machine"]["cpu"]}</text>']
    for i, (name, value) in enumerate(bars):
        y, width = 30 + i * height, int(scale * min(value, most))
        colour = "#3a7d44" if value >= 1 else "#c8553d"
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}</text>'
                     f'<rect x="{left}" y="{y + 3}" width="{width}" height="{height - 8}" fill="{colour}"/>'
                     f'<text x="{left + width + 5}" y="{y + 14}">{value:.2f}</text>')
    parts.append(f'<line x1="{left + scale}" y1="26" x2="{left + scale}" y2="{total - 14}" stroke="black"/></svg>')
    return "\n".join(parts)
