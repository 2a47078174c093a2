"""The secrets that a person keeps, for whoever writes down what that person types."""

from pathlib import Path


class KeptSecrets:
    """Takes them out of texts, used or not. Nothing is loaded or started where none is kept.

    Args:
        folder: of the store of secrets; by default that of this user.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def __call__(self, text: str) -> str:
        """The text without any of them, in any encoding, each as `[secret NAME]`.

        Raises:
            SecretsLocked: it cannot be said while they are locked.
            CredentialError: the store cannot be read.
        """
        if self._folder is None:
            from loom_nb.settings import load

            folder = load().home / "secrets"
        else:
            folder = self._folder
        if not text or not folder.is_dir() or not any(folder.iterdir()):
            return text
        from loom_nb.credentials.broker import broker_at

        return broker_at(folder).without_secrets(text)
