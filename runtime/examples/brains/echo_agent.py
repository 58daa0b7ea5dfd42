#!/usr/bin/env python3
"""A brain for longhaul in the standard library of Python: it runs every command it is given and tells how it ended.

    longhaul run --brain process:runtime/examples/brains/echo_agent.py "ls; git log -1"

The goal holds the first commands, divided by semicolons; each message adds more. docs/brain-protocol.md has the
protocol. The one idea worth taking away: nothing is kept that is not in the records. Everything below is computed
from `seen`, which is filled again from record 1 whenever longhaul starts this program anew, so being killed at any
instant costs nothing. Replace `decide` by a call of a model, and you have an agent.
"""
import json
import sys


def commands_in(text):
    return [line.strip() for line in text.split(";") if line.strip()]


def decide(seen):
    """Returns the next answer, as a pure function of the records."""
    wanted, begun, ended, told, bounded = [], 0, None, 0, False
    for record in seen:
        kind, data = record["type"], record["data"]
        if kind == "session.started":
            bounded = data["mode"] == "bounded"
        elif kind == "user.message":  # the first of them is the goal
            wanted += commands_in(data["text"])
        elif kind == "model.completed" and not data.get("failure"):
            begun += sum(call["tool"] == "exec" for call in data.get("calls", []))
            told = record["seq"]
        elif kind == "command.run":
            ended = record
        elif kind in ("tool.failed", "tool.outcome_unknown"):
            ended = record
    answer = {}
    if ended and ended["seq"] > told:
        data = ended["data"]
        if ended["type"] == "command.run":
            how = f"exit code {data['code']}" if data["verdict"] == "exited" else data["verdict"]
            answer["say"] = f"{how}\n{data['stdout']['head'].strip()}".strip()
        else:  # never done again by itself: a human reads this and decides
            answer["say"] = data.get("detail") or data.get("why")
    if begun < len(wanted):
        answer["calls"] = [{"tool": "exec", "args": {"command": wanted[begun]}}]
    else:
        # A bounded run asks again at once after a yield; an interactive one waits for the next message.
        answer["end"] = {"kind": "finish", "summary": "all done"} if bounded else {"kind": "yield"}
    return answer


def main():
    seen = []
    for line in sys.stdin:  # end-of-file means: exit
        message = json.loads(line)
        if message["type"] == "hello":
            assert message["protocol"] == 1, "this program speaks protocol 1"
        elif message["type"] in ("records", "next"):
            seen += message["records"]
        if message["type"] == "next":
            answer = {"type": "answer", "step": message["step"], **decide(seen)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
