"""Speed of a verdict by probabilities: against written verdicts, and with one pass for what both orders share.

Pairs a second of CPU time, of an untrained embedded judge with one thread; `python -m pytest -s tests/bench_choice.py`.
"""

from bench import in_turns, tell
from bench_judging import TOKENS, backbone, one_thread, setup  # noqa: F401 (fixtures)

from omnirepro.data import text_part
from omnirepro.judge.generative import Judge
from omnirepro.models.generation import Decoding, LocalModel
from omnirepro.models.processing import OmniProcessor
from omnirepro.models.towers import remember


def test_report_choice_against_written_verdicts(setup):  # noqa: F811
    tokenizer, pairs = setup
    model = remember(backbone(tokenizer))
    for batch, name in ((256, "in batches"), (1, "one at a time")):
        some = pairs if batch > 1 else pairs[::8]
        ways = {}
        for read in ("generate", "choice"):
            chat = LocalModel(model, OmniProcessor(tokenizer), "bench", batch, share=read == "choice")
            judge = Judge(chat, decoding=Decoding(TOKENS), read=read)
            ways[read] = lambda judge=judge, some=some: judge.judge(some)
        took = in_turns(ways)
        speed = {read: len(some) / seconds for read, seconds in took.items()}
        how = f"{len(some)} pairs, {TOKENS} tokens: {speed['choice']:.1f} pairs/s against {speed['generate']:.1f}"
        tell(f"choice / written verdict, {name} (embedded)", speed["choice"] / speed["generate"], how, least=5)


def test_report_one_pass_for_both_orders(setup):  # noqa: F811
    """Long prompts, as pictures and films of released models are: hundreds of tokens before the responses."""
    tokenizer, pairs = setup
    model = remember(backbone(tokenizer))
    for words in (100, 400):
        told = text_part(" the red ring is left of the blue cross" * (words // 9))
        longer = [p.model_copy(update={"prompt": [*p.prompt, told]}) for p in pairs[::2]]
        ways = {}
        for share in (False, True):
            judge = Judge(LocalModel(model, OmniProcessor(tokenizer), "bench", 64, share), read="choice")
            ways[share] = lambda judge=judge, longer=longer: judge.judge(longer)
        took = in_turns(ways)
        tokens = len(OmniProcessor(tokenizer).encode([{"role": "user", "parts": longer[0].prompt}]).ids)
        how = f"prompts of about {tokens} tokens: {len(longer) / took[True]:.1f} pairs/s by choice"
        tell("one prefill for both orders / two (embedded)", took[False] / took[True], how, least=1.6)
