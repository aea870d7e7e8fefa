"""A person's answers: at the prompt, or as options of the command line."""

from collections.abc import Callable

import typer

from data_shards.shardset import Value
from raytrain.errors import ResumeLater, UsageError
from raytrain.recipe import Recipe
from tuning.ledger import Ledger
from tuning.method.answers import accepting, checked, known, named_change, parse_pin
from tuning.method.loop import Answerer
from tuning.method.rows import Accept, Answer, Answered, Force, Freeze, Proposal, Reject, Row
from tuning.method.state import MethodState, replay
from tuning.method.tell import proposal_text
from tuning.method.world import World

PROMPT = "accept, reject REASON, force NAME, pin PATH[=VALUE], freeze or stop"


def prompted(ask: Callable[[str], str], say: Callable[[str], None], recipe: Recipe) -> Answerer:
    """Ask until an answer can be taken. Raises ResumeLater for `stop`."""

    def answer(proposal: Proposal, state: MethodState, world: World) -> Answered:
        say(proposal_text(proposal, state))
        while True:
            word, _, rest = ask(PROMPT).strip().partition(" ")
            if word == "stop":
                raise ResumeLater("the proposal waits; the same command with --resume goes on")
            try:
                said = read_answer(word, rest.strip(), state, world, recipe)
                return Answered(answer=checked(said, proposal, state), by="person")
            except UsageError as error:
                say(str(error).removeprefix("--"))

    return answer


def waiting(command: str, say: Callable[[str], None]) -> Answerer:
    """Show the proposal and end: nobody is at a terminal, and `--auto` was not given."""

    def answer(proposal: Proposal, state: MethodState, world: World) -> Answered:  # noqa: ARG001
        say(proposal_text(proposal, state))
        raise ResumeLater(
            f"a proposal waits for an answer: {command} with --accept, --reject REASON, --force NAME, "
            "--pin PATH[=VALUE] or --freeze; --auto accepts all"
        )

    return answer


def automatic(say: Callable[[str], None]) -> Answerer:
    """`--auto`: each proposal is shown, and what became of it."""

    def answer(proposal: Proposal, state: MethodState, world: World) -> Answered:
        answered = accepting(proposal, state, world)
        said = answered.answer
        say(proposal_text(proposal, state))
        say(f"--auto           {f'{said.change.name} instead' if isinstance(said, Force) else 'accepted'}\n")
        return answered

    return answer


class Said(Value):
    """Answers as options of the command line."""

    accept: bool = False
    reject: str | None = None
    force: str | None = None
    pins: tuple[str, ...] = ()
    freeze: bool = False

    @property
    def words(self) -> list[tuple[str, str]]:
        """As at the prompt: a word, and what follows it."""
        one = [("accept", "")] * self.accept + [("freeze", "")] * self.freeze
        one += [("reject", self.reject)] if self.reject is not None else []
        return one + ([("force", self.force)] if self.force is not None else [])

    @property
    def answers(self) -> bool:
        """Whether it is said of a proposal."""
        return self.accept or self.reject is not None or self.force is not None

    def check(self) -> None:
        """Raise UsageError for two answers to one proposal."""
        if len(self.words) > 1:
            raise UsageError(f"{' and '.join(f'--{word}' for word, _ in self.words)}: one answer at a time")


def tell_answers(ledger: Ledger[Row], world: World, said: Said, recipe: Recipe) -> None:
    """Write down what was said, pins first, and once. Raises UsageError for what cannot be said now."""
    for word, rest in [*(("pin", pin) for pin in said.pins), *said.words]:
        state = replay(ledger.rows)
        answer = checked(read_answer(word, rest, state, world, recipe), state.pending, state)
        if not known(answer, state):
            ledger.add(Answered(answer=answer, by="person"))


def read_answer(word: str, rest: str, state: MethodState, world: World, recipe: Recipe) -> Answer:
    """An answer in words. Raises UsageError for one that there is not, or that lacks its reason, name or path."""
    match word:
        case "accept":
            return Accept()
        case "freeze":
            return Freeze()
        case "reject" if rest:
            return Reject(reason=rest)
        case "force" if rest:
            return Force(change=named_change(rest, state, world))
        case "pin" if rest:
            return parse_pin(rest, recipe)
        case "reject" | "force" | "pin":
            raise UsageError(f"{word}: it needs more: {PROMPT}")
        case _:
            raise UsageError(f"'{word}' is no answer: {PROMPT}")


def terminal(say: Callable[[str], None], recipe: Recipe) -> Answerer:
    """The prompt of this terminal. Ctrl-C there, and the end of its input, are `stop`."""

    def ask(text: str) -> str:
        try:
            return str(typer.prompt(text))
        except typer.Abort:
            return "stop"

    return prompted(ask, say, recipe)
