"""Every error the program raises on purpose, as a tree.

    LocalexplainError
    ├── UserError          what the user gave is wrong: exit 2, one line, no traceback
    │   ├── ConfigError    a configuration key or value
    │   ├── CorpusError    the texts
    │   ├── SubjectError   the subject model's folder, or its architecture
    │   └── RunError       the run folder: another subject, another schema, not a run
    ├── EngineError        an engine cannot be loaded or stopped working as a whole
    │   └── EngineMissing  its library is not installed
    ├── NotSilent          something tried to reach another machine, or nobody could have seen it
    └── StoreError         the DuckDB file: locked, full, damaged
        └── StoreLocked    another process writes to it

Anything else that is raised is our bug and keeps its traceback. A request that fails alone is no exception: it is a
reply, and later a row, that says why.
"""


class LocalexplainError(Exception):
    """Base of the tree. `str(error)` is one line: what is wrong, and what to do next."""


class UserError(LocalexplainError):
    """What the user gave cannot be used as it is."""


class ConfigError(UserError):
    """A configuration key is unknown, or its value is of the wrong type or out of range."""


class CorpusError(UserError):
    """The texts are missing, empty, too short or not readable."""


class SubjectError(UserError):
    """The subject model's folder is incomplete, or its architecture fails the proof of its sites."""


class RunError(UserError):
    """The run folder is not a run, or belongs to something else than what was asked."""


class EngineError(LocalexplainError):
    """An engine cannot be loaded, or stopped working as a whole."""


class EngineMissing(EngineError, UserError):
    """The engine's library is not installed, or cannot run on this machine."""


class NotSilent(LocalexplainError):
    """Something tried to reach another machine, or the check cannot see whether it does."""


class StoreError(LocalexplainError):
    """The store cannot be read or written."""


class StoreLocked(StoreError, UserError):
    """Another process holds the store."""


class StoreFull(StoreError, UserError):
    """There is no room left where the store lives."""
