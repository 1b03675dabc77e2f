"""The routes of both providers and of the control, as one application."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from local_provider import anthropic_api, control_api, openai_api
from local_provider.settings import SettingsError
from local_provider.state import State
from local_provider.wire import ApiError, ConnectionCut, api_error, cut_connection, internal_error


def application(state: State) -> Starlette:
    """The server's application over its parts."""
    app = Starlette(
        routes=[*anthropic_api.ROUTES, *openai_api.ROUTES, *control_api.ROUTES],
        exception_handlers={
            ApiError: api_error,
            HTTPException: api_error,
            ConnectionCut: cut_connection,
            SettingsError: control_api.unusable,
            Exception: internal_error,
        },
    )
    app.state.parts = state
    return app
