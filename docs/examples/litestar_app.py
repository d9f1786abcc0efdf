"""A cookbook: a Litestar application that tracks what is read, sought and rated."""

import os
from typing import Annotated

from litestar import Litestar, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody, QueryParameter
from pydantic import Field

from snowplow_aio import HttpEmitter, SelfDescribing, SiteSearch, Tracker
from snowplow_aio.integrations.litestar import CurrentTracker, SnowplowPlugin
from snowplow_aio.integrations.page_views import PageViews

COLLECTOR = os.environ.get("COLLECTOR", "http://127.0.0.1:9090")

RECIPES = {"dal": "Red lentil dal", "ramen": "Ramen", "ratatouille": "Ratatouille"}


class Rating(SelfDescribing, schema="iglu:com.example.cookbook/rating/jsonschema/1-0-0"):
    """Somebody rated a recipe."""

    recipe: str
    stars: Annotated[int, Field(ge=1, le=5)]


@get("/recipes/{recipe:str}")
async def read(recipe: FromPath[str]) -> dict[str, str]:
    """Show a recipe, which is a page view."""
    if recipe not in RECIPES:
        raise NotFoundException
    return {"title": RECIPES[recipe]}


@get("/recipes")
async def seek(
    q: Annotated[str, QueryParameter(min_length=1, max_length=100)], tracker: CurrentTracker
) -> list[str]:
    """Look for a recipe."""
    found = [name for name, title in RECIPES.items() if q.casefold() in title.casefold()]
    await tracker.track(SiteSearch(terms=[q], total_results=len(found)))
    return found


@post("/ratings")
async def rate(data: JSONBody[Rating], tracker: CurrentTracker) -> str:
    """Rate a recipe: the body is the event, and answered with 400 where it breaks a rule."""
    return await tracker.track(data)


def make_tracker() -> Tracker:
    """Return the tracker of a process that serves."""
    return Tracker(HttpEmitter(COLLECTOR), namespace="cookbook", app_id="cookbook")


# The API's answers are its pages.
pages = PageViews(include=["/recipes/*"], content_types=["application/json"])
app = Litestar([read, seek, rate], plugins=[SnowplowPlugin(make_tracker, page_views=pages)])
