"""Balance of an account and of a key."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from airflow_provider_evolink.api.jobs.job import Number, _Lenient, _or_none


def credits_text(amount: float | None) -> str:
    """
    Return an amount as messages show it.

    :param amount: Credits; ``None``: EvoLink does not state them.
    """
    return "an unknown number of credits" if amount is None else f"{amount:.10g} credits"


class Balance(_Lenient):
    """Credits left and used, of the account or of one key."""

    remaining_credits: Number = None
    used_credits: Number = None
    unlimited_credits: Annotated[bool, WrapValidator(lambda value, handler: _or_none(value, handler) is True)] = False
    daily_limit_credits: Number = None
    daily_used_credits: Number = None


def _or_empty(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    return _or_none(value, handler) or Balance()


class Credits(_Lenient):
    """
    Response of ``GET /v1/credits``.

    :param user: The account's balance.
    :param token: The key's own limit; its ``remaining_credits`` mean nothing if ``unlimited_credits``.
    """

    user: Annotated[Balance, WrapValidator(_or_empty)] = Balance()
    token: Annotated[Balance, WrapValidator(_or_empty)] = Balance()

    @property
    def available(self) -> float | None:
        """Credits this key can still spend: the smaller of balance and key limit, never negative."""
        amounts = [self.user.remaining_credits]
        if not self.token.unlimited_credits:
            amounts.append(self.token.remaining_credits)
        daily = self.token.daily_limit_credits
        if daily is not None:
            amounts.append(daily - (self.token.daily_used_credits or 0.0))
        known = [amount for amount in amounts if amount is not None]
        return max(0.0, min(known)) if known else None
