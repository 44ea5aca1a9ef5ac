# SPDX-License-Identifier: BSD-2-Clause
"""Turns the raw results of bench/server.py into tables (Markdown, readable in a terminal too)."""

import statistics

from tables import machine_text, number, span, spread, table


class Results:
    def __init__(self, results):
        self.raw = results
        self.names = results["names"]
        self.floor_by_round = [floor["hot"]["sendmmsg"] for floor in results["floors"]]

    def servers(self):
        return [name for name in ("ours", "other") if any(run["server"] == name for run in self.raw["runs"])]

    def cases(self, *kinds):
        return list(dict.fromkeys(run["case"] for run in self.raw["runs"] if run["kind"] in kinds))

    def runs(self, case, server):
        return [run for run in self.raw["runs"] if run["case"] == case and run["server"] == server]

    def values(self, case, server, key):
        return [run["result"].get(key) for run in self.runs(case, server)]

    def per_message(self, run):
        """Server CPU nanoseconds per message that arrived."""
        result = run["result"]
        if result.get("cpu_ns") is None or not result["delivered"]:
            return None
        return result["cpu_ns"] / result["delivered"]

    def in_floors(self, run):
        cost = self.per_message(run)
        return None if cost is None else cost / self.floor_by_round[run["round"]]

    def rows(self, kind):
        """(case, server) pairs of a kind, the servers of one case next to each other."""
        return [(case, server) for case in self.cases(kind) for server in self.servers() if self.runs(case, server)]

    def label(self, case, server):
        return [case.split()[-1], self.names[server]]

    def ends(self, case, server):
        """How the server ended by itself, for those runs in which it did."""
        runs = self.runs(case, server)
        ends = [run["result"]["server_ended"] for run in runs if run["result"].get("server_ended")]
        return f"{ends[0]} in {len(ends)} of {len(runs)}" if ends else ""

    def slope(self, run):
        """KiB of resident memory per further client, least squares over the points."""
        points = run["result"]["points"]
        if len(points) < 3:
            return None
        clients = [point["clients"] for point in points]
        return statistics.linear_regression(clients, [point["rss_kib"] for point in points]).slope


def section_floor(results):
    floors = results.raw["floors"]

    def values(group, name):
        return spread([floor[group][name] for floor in floors])

    sockets = floors[0]["fanout"]["sockets"]
    rows = [
        ["sendmsg(), one descriptor", "one thread, hot", values("hot", "sendmsg")],
        ["**sendmmsg(), one descriptor: the floor**", "one thread, hot", values("hot", "sendmmsg")],
        ["sendmmsg(), no descriptor", "one thread, hot", values("hot", "sendmmsg_without_fd")],
        ["sendmsg(), one descriptor", "reader on the other CPU", values("cross", "sendmsg")],
        ["sendmmsg(), one descriptor", "reader on the other CPU", values("cross", "sendmmsg")],
        [f"sendmsg(), one descriptor, to {sockets} sockets in turn", "reader on the other CPU",
         values("fanout", "sendmsg")],
    ]
    return "### The kernel alone, ns of sender CPU per 8-byte message\n\n" + table(["call", "where", "ns"], rows)


def percent(share):
    """Two digits, but nothing that was lost becomes 0 and nothing that arrived becomes 100."""
    return f"{share:.2g}" if share < 10 else f"{min(share, 99.9):.{0 if share < 99.5 else 1}f}"


def loss(results, case, server):
    runs = results.runs(case, server)
    shares = [100 * run["result"]["lost"] / run["result"]["expected"] for run in runs]
    if not any(shares):
        return "0"
    low, high = percent(min(shares)), percent(max(shares))
    return f"**{low} %**" if low == high else f"**{low}-{high} %**"


def section_join(results):
    rows = []
    for case, server in results.rows("join"):
        runs = results.runs(case, server)
        ended = results.ends(case, server)
        whole = [run for run in runs if not run["result"].get("server_ended")]
        rows.append([
            *results.label(case, server), str(len(runs)),
            spread([run["result"]["wall_ns"] for run in whole if not run["result"]["incomplete"]], 1e6),
            str(runs[0]["result"]["expected"]), loss(results, case, server),
            span(results.values(case, server, "incomplete")),
            spread([run["result"]["cpu_ns"] for run in whole], 1e6),
            spread([results.per_message(run) for run in whole]),
            spread([results.in_floors(run) for run in whole]),
            span([run["result"]["rss_kib"] for run in whole]), span([run["result"]["fds"] for run in whole]), ended])
    head = ["N x V", "server", "runs", "all complete, ms", "messages", "lost", "clients incomplete", "server CPU ms",
            "ns/message", "floors", "RSS KiB", "fds", "died"]
    return "### Join storm: N clients of V vectors connect at once\n\n" + table(head, rows)


def section_stall(results):
    rows = []
    for kind in ("stall", "stall-nobody"):
        for case, server in results.rows(kind):
            runs = results.runs(case, server)
            told = [run["result"] for run in runs]
            rows.append([
                *results.label(case, server), "no" if kind == "stall-nobody" else "yes",
                span(results.values(case, server, "stalled")),
                spread([result["others_wall_ns"] for result in told if not result["others_incomplete"]], 1e6),
                span(results.values(case, server, "others_incomplete")),
                spread([result["resumed_wall_ns"] for result in told if not result["incomplete"]], 1e6),
                loss(results, case, server), span(results.values(case, server, "incomplete")),
                span([run["result"]["rss_kib"] for run in runs if not run["result"].get("server_ended")]),
                results.ends(case, server)])
    head = ["N x V", "server", "privileged", "stalled", "others complete, ms", "others incomplete",
            "stalled complete, ms after resuming", "lost", "clients incomplete at the end", "RSS KiB", "died"]
    return "### The same, and 30 % of the clients do not read for a while\n\n" + table(head, rows)


def section_single(results):
    rows = []
    for case, server in results.rows("single"):
        runs = results.runs(case, server)
        own = [time for run in runs for time in run["result"]["own_ns"]]
        told = [time for run in runs for time in run["result"]["all_ns"]]
        joins = sum(run["result"]["joins"] for run in runs)
        rows.append([*results.label(case, server), str(joins), spread(own, 1e6), spread(told, 1e6),
                     str(sum(run["result"]["incomplete_joins"] for run in runs)), results.ends(case, server)])
    head = ["N x V", "server", "joins", "own view complete, ms", "all told, ms", "incomplete joins", "died"]
    return "### One more client joins N steady ones\n\n" + table(head, rows)


def section_leave(results):
    rows = []
    for case, server in results.rows("leave"):
        runs = [run["result"] for run in results.runs(case, server)]
        first = runs[0]
        told = [result["wall_ns"] for result in runs if result["notices_delivered"] == result["notices"]]
        rows.append([f"{first['leaves']} of {first['clients']}", results.names[server], str(len(runs)), spread(told, 1e6),
                     str(first["notices"]), span(results.values(case, server, "notices_delivered")),
                     spread(results.values(case, server, "cpu_ns"), 1e6), results.ends(case, server)])
    head = ["leaving", "server", "runs", "all others told, ms", "notices", "delivered", "server CPU ms", "died"]
    return "### Leave storm\n\n" + table(head, rows)


def section_churn(results):
    rows = []
    for case, server in results.rows("churn"):
        runs = results.runs(case, server)
        served = [run["result"] for run in runs if run["result"]["served"]]
        rows.append([results.names[server], str(runs[0]["result"]["count"]), f"{len(served)} of {len(runs)}",
                     spread([result["accepted"] / result["wall_ns"] * 1e9 for result in served]),
                     spread([result["cpu_ns"] / result["accepted"] for result in served], 1e3),
                     results.ends(case, server)])
    head = ["server", "clients", "next one served", "per second", "server CPU us each", "died"]
    return "### Clients that connect and close at once\n\n" + table(head, rows)


def section_memory(results):
    rows = []
    for case, server in results.rows("memory"):
        for run in results.runs(case, server)[:1]:
            points = run["result"]["points"]
            if not points:
                continue
            slopes = [results.slope(other) for other in results.runs(case, server)]
            rows.append([results.names[server], f"{points[0]['clients']}: {points[0]['rss_kib']}",
                         f"{points[-1]['clients']}: {points[-1]['rss_kib']}", spread(slopes),
                         results.ends(case, server)])
    head = ["server", "fewest clients: RSS KiB", "most clients: RSS KiB", "KiB per further client", "died"]
    return "### Memory of the server process, one vector per client\n\n" + table(head, rows)


def goals(results):
    """(goal, measured, reached) with reached None where there is nothing to compare with."""
    runs = [run for run in results.raw["runs"] if run["server"] == "ours"]
    storms = [run["result"] for run in runs if run["kind"] in ("join", "stall", "stall-nobody")]
    found = []
    if storms:
        lost = sum(result["lost"] for result in storms)
        incomplete = sum(result["incomplete"] for result in storms)
        waited = sum(result.get("others_incomplete", 0) > 0 for result in storms)
        found.append(("everything delivered, stalled clients included",
                      f"{lost} messages lost, {incomplete} clients incomplete in {len(storms)} storms; in {waited} "
                      "of them others had to wait for stalled ones",
                      lost == 0 and incomplete == 0))
    case = "join 200x1"
    pairs = []
    for run in results.runs(case, "ours"):
        for other in results.runs(case, "other"):
            if run["round"] == other["round"] and results.per_message(run) and results.per_message(other):
                pairs.append(results.per_message(run) / results.per_message(other))
    found.append((f"server CPU per message at 200x1: at most 0.8 of {results.names['other']}'s",
                  spread(pairs), statistics.median(pairs) <= 0.8 if pairs else None))
    floors = [results.in_floors(run) for run in results.runs(case, "ours") if results.in_floors(run)]
    found.append(("server CPU per message at 200x1: at most 3.5 floors", spread(floors),
                  statistics.median(floors) <= 3.5 if floors else None))
    slopes = [results.slope(run) for run in runs if run["kind"] == "memory" and results.slope(run) is not None]
    found.append(("at most 1 KiB of memory per further client", spread(slopes),
                  statistics.median(slopes) <= 1 if slopes else None))
    case = "leave 500x1"
    told = {(name, run["round"]): run["result"]["wall_ns"] for name in ("ours", "other")
            for run in results.runs(case, name) if run["result"]["notices_delivered"] == run["result"]["notices"]}
    pairs = [told["other", number] / wall for (name, number), wall in told.items()
             if name == "ours" and ("other", number) in told]
    found.append((f"250 of 500 leave: at least 8 times as fast as {results.names['other']}",
                  spread(pairs), statistics.median(pairs) >= 8 if pairs else None))
    return found


def section_goals(results):
    words = {True: "yes", False: "**no**", None: "not measured"}
    rows = [[goal, measured, words[reached]] for goal, measured, reached in goals(results)]
    return "### Goals\n\n" + table(["goal", "measured", "reached"], rows)


def text(raw):
    results = Results(raw)
    machine = raw["machine"]
    head = (f"{machine_text(machine)}; at most {machine['max_files']} descriptors per process; server and driver "
            f"{'on a CPU each' if machine['pinned'] else 'not pinned'}; {len(raw['floors'])} interleaved rounds in "
            f"{raw['seconds']} s{' (--quick)' if raw['quick'] else ''}. Values are medians, with the quartiles in "
            f"parentheses.")
    if raw["fewer_repeats"]:
        head += f" The time limit cut the repeats of: {', '.join(raw['fewer_repeats'])}."
    sections = [head, section_goals(results), section_floor(results)]
    for section, *kinds in ((section_join, "join"), (section_stall, "stall", "stall-nobody"),
                            (section_single, "single"), (section_leave, "leave"), (section_churn, "churn"),
                            (section_memory, "memory")):
        if results.cases(*kinds):
            sections.append(section(results))
    return "\n\n".join(sections)


def ours_failed(raw):
    """Did our server lose a message, leave a client incomplete, or die? Speed is not a failure."""
    for run in raw["runs"]:
        result = run["result"]
        if run["server"] == "ours" and (result.get("lost") or result.get("incomplete") or result.get("errors") or
                                        result.get("server_ended")):
            return True
    return False
