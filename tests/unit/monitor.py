"""A monitor that is made up: it goes through statuses in the order in which QEMU was seen to."""

from fastballoon_cli.qemu.monitor import CommandNotFoundError

RAM = {"total": 1000, "remaining": 500, "mbps": 8.0, "transferred": 400, "dirty-sync-count": 3}


class Monitor:
    """Answers from tables; what a status is asked for moves along a list and stays at its end."""

    def __init__(self, statuses=("none",), *, run="running", capabilities=(), on_cancel=("cancelled",), **commands):
        self.statuses, self.run, self.on_cancel = list(statuses), run, list(on_cancel)
        self.capabilities = dict(capabilities)
        self.commands = {name.replace("_", "-"): answer for name, answer in commands.items()}
        self.said = []

    def execute(self, command, arguments=None, **_):
        self.said.append((command, arguments))
        match command:
            case "query-migrate":
                status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
                if isinstance(status, Exception):
                    raise status
                return {"status": status, "ram": RAM, "total-time": 1234, "downtime": 56, "setup-time": 7}
            case "query-status":
                return {"status": self.run}
            case "migrate_cancel":
                self.statuses = list(self.on_cancel)
            case "cont":
                self.run = "running"
            case "query-migrate-capabilities":
                return [{"capability": name, "state": state} for name, state in self.capabilities.items()]
            case "migrate-set-capabilities":
                for one in arguments["capabilities"]:
                    self.capabilities[one["capability"]] = one["state"]
            case _:
                if command in self.commands:
                    return self.commands[command]
                raise CommandNotFoundError(command)
        return {}

    def told(self, command):
        return [arguments for said, arguments in self.said if said == command]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
