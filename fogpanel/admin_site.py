"""The admin site, for the role admin. What it shows of state and evidence cannot be changed there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from fogpanel.access import Role, allows, require

if TYPE_CHECKING:  # generic for the type checker only
    AnyPaginator = Paginator[Any]
    AnyAdmin = admin.ModelAdmin[Any]
else:
    AnyPaginator, AnyAdmin = Paginator, admin.ModelAdmin

COUNTED_TO = 1000
PAGE_SIZE = 50


class PanelAdminSite(admin.AdminSite):
    """Signing in happens on the panel's own page; who lacks the role is told which one it is."""

    site_header = "Fogpanel administration"
    site_title = "Fogpanel"
    site_url = "/control-panel"

    def has_permission(self, request: HttpRequest) -> bool:
        return allows(request.user, Role.ADMIN)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        if request.user.is_authenticated:
            require(request.user, Role.ADMIN)
        return redirect_to_login(request.GET.get("next", "/admin/"))


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
