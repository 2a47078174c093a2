"""A person is asked before a file is read that holds secrets by its name."""

from dataclasses import dataclass
from typing import Literal

from loom_nb.capabilities.secret_names import looks_secret
from loom_nb.protocols import Call, Layer, Verdict


@dataclass(frozen=True, slots=True)
class AskAboutSecrets:
    """Asks about read_file and read_notebook of names such as `.env`, `id_rsa` and `*.pem`."""

    name: str = "secret files"
    layer: Layer = "approval"
    decision: Literal["ask"] = "ask"

    def judge(self, call: Call) -> Verdict | None:
        """Ask where the path that was asked for, or the one that it leads to, has such a name."""
        if call.provided_by != "files" or call.name not in ("read_file", "read_notebook"):
            return None
        paths = [str(call.arguments.get("path", ""))]
        paths += call.assessment.paths if call.assessment is not None else ()
        found = next((path for path in paths if looks_secret(path)), None)
        if found is None:
            return None
        return Verdict("ask", f"by its name {found} holds secrets, which the model would read", self.name)

    def __str__(self) -> str:
        return "reading files that hold secrets by their names is asked about"
