"""Every address of the panel."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path
from django.urls.resolvers import URLPattern, URLResolver

from fogpanel import api, views
from fogpanel.parameters import views as parameters

handler400 = views.bad_request
handler403 = views.not_allowed
handler404 = views.not_found
handler500 = views.broken

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("services.urls")),
    path("", include("nodes.urls")),
    path("", include("tasks.urls")),
    path("sign-in", views.sign_in, name="sign-in"),
    path("sign-out", LogoutView.as_view(), name="sign-out"),
    path("events", views.events, name="events"),
    path("settings", parameters.settings_page, name="settings"),
    path("settings/<slug:slug>", parameters.change_parameters, name="settings-change"),
    path("api/v1/", api.urls),
    path("admin/", admin.site.urls),
]
