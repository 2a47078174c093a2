"""The clients for OpenAI and for every server that speaks one of its two protocols."""

from loom_nb.models.openai_chat import OpenAIChat
from loom_nb.models.openai_responses import OpenAIResponses

__all__ = ["OpenAIChat", "OpenAIResponses"]
