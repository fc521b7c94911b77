"""The admin site, for the role admin. What it shows of state and evidence cannot be changed there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from heapq import nlargest
from typing import TYPE_CHECKING, Any, TypeAlias

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.functional import cached_property

from fogpanel.access import Role, allows, require
from fogpanel.keyset import SEARCH_SPAN, newest
from fogpanel.storable import RULE, UNSTORABLE

if TYPE_CHECKING:  # generic for the type checker only
    AnyPaginator = Paginator[Any]
    AnyAdmin = admin.ModelAdmin[Any]
else:
    AnyPaginator, AnyAdmin = Paginator, admin.ModelAdmin

Rows: TypeAlias = QuerySet[Any]
View: TypeAlias = Callable[..., HttpResponseBase]

COUNTED_TO = 1000
SEARCH_CHARACTERS = 200  # each word in them makes the query longer
NUMBER_DIGITS = 18  # more do not fit into a column
PAGE_SIZE = 25  # Django's own templates take more than a millisecond for a row


class PanelAdminSite(admin.AdminSite):
    """Signing in happens on the panel's own page; who lacks the role is told which one it is."""

    site_header = "Fogpanel administration"
    site_title = "Fogpanel"
    site_url = "/control-panel"

    def has_permission(self, request: HttpRequest) -> bool:
        return allows(request.user, Role.ADMIN)

    def admin_view(self, view: View, cacheable: bool = False) -> Any:
        """Every view of the site, Django's own models' included, asked only what its queries can bear."""
        model = getattr(getattr(view, "__self__", None), "model", None)

        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            _check_search(request.GET.get("q", ""))
            _check_chosen(request.POST.getlist("_selected_action"), model)
            return view(request, *args, **kwargs)

        return super().admin_view(checked, cacheable)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if request.user.is_authenticated:
            require(request.user, Role.ADMIN)
        return redirect_to_login(request.GET.get("next", "/admin/"))


def _check_search(words: str) -> None:
    if len(words) > SEARCH_CHARACTERS:
        raise BadRequest(f"q: must be at most {SEARCH_CHARACTERS} characters, was {len(words)}.")


def _check_chosen(keys: Sequence[str], model: type[Model] | None) -> None:
    for key in keys:
        if UNSTORABLE.search(key):
            raise BadRequest(f"_selected_action: {RULE}")
        try:
            if model is not None and model._meta.pk is not None:
                model._meta.pk.to_python(key)
        except ValidationError as error:
            raise BadRequest(f"_selected_action: {' '.join(error.messages)}") from error


class CappedPaginator(AnyPaginator):
    """Counts to `COUNTED_TO` and no further: a million rows are not counted to show fifty.

    Who looks for older ones filters or searches.
    """

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        assert isinstance(rows, QuerySet)
        return rows.order_by().values("pk")[:COUNTED_TO].count()


class PanelAdmin(AnyAdmin):
    """What all of our models share on the admin site."""

    show_full_result_count = False
    paginator = CappedPaginator
    list_per_page = PAGE_SIZE


class ReadOnlyAdmin(PanelAdmin):
    """State and evidence: to be looked at. Panel code writes it, and actions call panel code."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LargeAdmin(ReadOnlyAdmin):
    """For tables that grow to millions of rows: nothing that is clicked here reads a whole one.

    A search looks for a number in ``numbers`` (indexed columns), else for the exact name of what a row
    belongs to in ``names`` ("node__name"), else for each word in ``texts`` of the newest `SEARCH_SPAN` rows.
    It finds the newest `COUNTED_TO` rows at most.
    """

    sortable_by = ()
    numbers: Sequence[str] = ()
    names: Sequence[str] = ()
    texts: Sequence[str] = ()

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """Django shows the search box where there are any."""
        return (*self.numbers, *self.names, *self.texts)

    def get_search_results(self, request: HttpRequest, queryset: Rows, search_term: str) -> tuple[Rows, bool]:
        term = " ".join(search_term.split())
        return (self._matching(queryset, term) if term else queryset), False

    def _matching(self, rows: Rows, term: str) -> Rows:
        for look in (self._with_number, self._with_name, self._with_words):
            keys = {key for source in look(rows, term) for key in _newest_keys(source)}
            if keys:
                return rows.filter(pk__in=nlargest(COUNTED_TO, keys))
        return rows.none()

    def _with_number(self, rows: Rows, term: str) -> Iterator[Rows]:
        if term.isdecimal() and len(term) <= NUMBER_DIGITS:
            for column in self.numbers:
                yield rows.filter(**{column: int(term)})

    def _with_name(self, rows: Rows, term: str) -> Iterator[Rows]:
        """What the name belongs to is found first: with a join the database may read every row instead."""
        for path in self.names:
            relation, _, column = path.partition("__")
            named = rows.model._meta.get_field(relation).related_model
            for key in named._default_manager.filter(**{column: term}).values_list("pk", flat=True)[:1]:
                yield rows.filter(**{relation: key})

    def _with_words(self, rows: Rows, term: str) -> Iterator[Rows]:
        if self.texts:
            found = newest(rows)
            for word in term.split():
                found = found.filter(
                    Q(*((f"{text}__icontains", word) for text in self.texts), _connector=Q.OR)
                )
            yield found


def _newest_keys(rows: Rows) -> Rows:
    return rows.order_by("-pk").values_list("pk", flat=True)[:COUNTED_TO]


class AmongNewest(admin.ChoicesFieldListFilter):
    """The filter of a column without an index: it looks through the newest rows only, and says so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = f"{self.title} (of the newest {SEARCH_SPAN:,})"

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        found = super().queryset(request, newest(queryset) if self.used_parameters else queryset)
        assert found is not None, "Django's own filters always answer with rows"
        return found


def by_hash(rows: Rows, column: str, start: str) -> Rows:
    """The rows whose hexadecimal hash begins so. A range, since no index serves Django's ``startswith``."""
    bounds = {f"{column}__gte": start.lower(), f"{column}__lt": start.lower() + "g"}
    return rows.filter(**bounds) if start else rows
