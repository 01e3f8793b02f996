"""Any OpenAI-compatible server as a model: vLLM, `transformers serve`, a hosted service.

`client` sends chats and keeps what they cost, `messages` writes them as the API expects, `store` keeps every answer.
With vLLM, for example (one medium of each kind in the prompt, one in each candidate):

    vllm serve Qwen/Qwen2.5-Omni-7B --port 8000 --limit-mm-per-prompt '{"image": 3, "video": 3, "audio": 3}'
    python -m omnirepro judge pairs.jsonl --model http://localhost:8000/v1#Qwen/Qwen2.5-Omni-7B \\
        --out rows.jsonl --cache answers.sqlite --concurrency 64
"""

from omnirepro.models.endpoints.client import EndpointModel
from omnirepro.models.endpoints.messages import to_message
from omnirepro.models.endpoints.store import Usage

__all__ = ["EndpointModel", "Usage", "to_message"]
