"""Requests of one asset to fingerprints and bodies: checked, and all of one kind."""

from collections.abc import Callable, Sequence

from pydantic import BaseModel

from offpeak.errors import InvalidRequest, PlanError
from offpeak.providers.base import NEVER_CACHED, CacheTerms, CacheUse, Encode, Kind, Provider
from offpeak.requests import Chat, Embedding, Moderation, Request
from offpeak.requests.fingerprint import Fingerprinter
from offpeak.requests.keys import check_request, plainly_in_order


class Coding:
    """Learns the kind from the first request; a plan that mixes kinds is refused, since a batch has one endpoint.

    `terms` says when prefixes are worth caching. It is asked once, and only where there are Chats.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        asset: str,
        model: str,
        output: type[BaseModel] | None,
        terms: Callable[[], CacheTerms] = lambda: NEVER_CACHED,
    ) -> None:
        self.asset = asset
        self.terms = NEVER_CACHED
        self._ask_terms = terms
        self._provider, self._model, self._output = provider, model, output
        self._type: type[Request] | None = None
        self._kind: Kind | None = None
        self._fingerprinter: Fingerprinter | None = None
        self._encode: Encode | None = None

    @property
    def kind(self) -> Kind | None:
        """None before the first request."""
        return self._kind

    def fingerprints(self, block: Sequence[Request], first: int) -> list[bytes]:
        """A fingerprint per request; `first` is the position of the first one in the plan. Raises PlanError."""
        fingerprinter = self._fingerprinter
        if fingerprinter is None:
            check_request(block[0], asset=self.asset, position=first)
            fingerprinter = self._begin(block[0])
        expected, of = self._type, fingerprinter.of
        prints = []
        in_order = plainly_in_order(block, expected)
        for position, request in enumerate(block, first):
            if not in_order:
                check_request(request, asset=self.asset, position=position)
            if type(request) is not expected:
                raise PlanError(
                    f"{self.asset}: row {request.key!r} is a {type(request).__name__}, the rows before it are not. "
                    "Nothing was submitted. One asset asks one kind of question: split it in two."
                )
            try:
                prints.append(of(request))
            except TypeError as error:  # orjson's own error is one too
                raise InvalidRequest(
                    f"{self.asset}: row {request.key!r} cannot be written as JSON ({error}). Nothing was submitted. "
                    "Give valid Unicode text, and plain numbers (int(...), float(...)) as parameters."
                ) from error
        return prints

    def _begin(self, request: Request) -> Fingerprinter:
        self._type = type(request)
        match request:
            case Chat():
                kind = Kind.CHAT
            case Embedding():
                kind = Kind.EMBEDDING
            case Moderation():
                kind = Kind.MODERATION
        self._kind = kind
        self._fingerprinter = Fingerprinter(
            realm=self._provider.realm, endpoint=self._provider.endpoint(kind), model=self._model, output=self._output
        )
        if kind is Kind.CHAT:
            self.terms = self._ask_terms()
        self._encode = self._provider.encoder(
            kind=kind, model=self._model, output=self._output, writes_charged=self.terms.charged
        )
        return self._fingerprinter

    def bodies(self, requests: Sequence[Request], uses: Sequence[CacheUse] | None = None) -> list[bytes]:
        """The bodies of requests, without custom_id; `uses` says what becomes of their prefixes, None that none has
        one. Raises InvalidRequest."""
        if self._encode is None:
            raise PlanError(f"{self.asset}: nothing was planned yet.")
        return list(map(self._encode, requests) if uses is None else map(self._encode, requests, uses))

    def components(self) -> dict[str, str]:
        """Digests of what the requests have in common."""
        return {} if self._fingerprinter is None else self._fingerprinter.components()
