"""What is served besides /v2: everything is the API's, until the console comes."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("", include("api.urls"))]
