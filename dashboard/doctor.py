"""The page of `hookkeeper doctor`: what is wrong with the installation, as this API process sees it."""

from fastapi import APIRouter, Request, Response

from api.access import needs
from api.state import state_of
from dashboard.rendering import render
from dashboard.routes import PageRoute
from hookkeeper.findings import LEVELS, worst

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/doctor", dependencies=[needs("admin")])
async def show_doctor(request: Request) -> Response:
    """Examine the installation, and show what is wrong first."""
    findings = await state_of(request).report.read()
    ordered = sorted(findings, key=lambda finding: -LEVELS.index(finding.level))
    return await render(request, "doctor.html", findings=ordered, worst=worst(findings))
