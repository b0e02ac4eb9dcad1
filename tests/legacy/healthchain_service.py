"""A CDS Hooks service as its authors would write it with HealthChain: it knows nothing of hookgate.

It answers `patient-view` with one card that has a uuid, a suggestion with a uuid, an absolute link whose
target carries a credential, and a SMART launch link. Nobody who calls it is asked who they are. HealthChain
has no way for feedback, so this adds one for that service, and another that lists the outcomes it was told;
`encounter-discharge` is left as HealthChain has it.

Run: uvicorn --app-dir tests/legacy healthchain_service:app --port 8000
"""

from fastapi import Body
from healthchain.gateway import CDSHooksService, HealthChainAPI
from healthchain.models import CDSRequest, CDSResponse
from healthchain.models.responses.cdsresponse import (
    Action,
    ActionTypeEnum,
    Card,
    IndicatorEnum,
    Link,
    LinkTypeEnum,
    SelectionBehaviorEnum,
    Source,
    Suggestion,
)

cds = CDSHooksService()


@cds.hook(
    "patient-view",
    id="growth-chart",
    title="Growth chart",
    description="Offers the growth chart of the patient in view",
)
def growth_chart(request: CDSRequest) -> CDSResponse:
    patient = request.context.patientId
    follow_up = Action(
        type=ActionTypeEnum.create,
        description="Plan a visit in six months",
        resource={"resourceType": "ServiceRequest", "subject": {"reference": f"Patient/{patient}"}},
    )
    card = Card(
        uuid="5f2c4f2e-4b43-4f43-9c1b-0d7a6a5f5f01",
        summary="Growth chart available",
        detail="The last measurement is older than six months.",
        indicator=IndicatorEnum.info,
        source=Source(label="Growth charts", url="https://growth.example.org/about"),
        suggestions=[
            Suggestion(
                label="Plan a visit",
                uuid="5f2c4f2e-4b43-4f43-9c1b-0d7a6a5f5f02",
                isRecommended=True,
                actions=[follow_up],
            )
        ],
        selectionBehavior=SelectionBehaviorEnum.at_most_one,
        links=[
            Link(
                label="Open the chart",
                url=f"https://growth.example.org/chart?patient={patient}&key=s3cret#latest",
                type=LinkTypeEnum.absolute,
                autoLaunchable=False,
            ),
            Link(
                label="Open the growth app",
                url="https://growth.example.org/launch.html",
                type=LinkTypeEnum.smart,
                appContext='{"view":"latest"}',
                autoLaunchable=False,
            ),
        ],
    )
    return CDSResponse(cards=[card])


@cds.hook(
    "encounter-discharge",
    id="discharge-note",
    title="Discharge note",
    description="Reminds of the discharge note",
)
def discharge_note(request: CDSRequest) -> CDSResponse:
    card = Card(
        uuid="5f2c4f2e-4b43-4f43-9c1b-0d7a6a5f5f03",
        summary="The discharge note is missing",
        indicator=IndicatorEnum.warning,
        source=Source(label="Discharge"),
    )
    return CDSResponse(cards=[card])


app = HealthChainAPI(title="Growth charts")
app.register_service(cds)

outcomes: list[dict] = []


@app.post("/cds/cds-services/growth-chart/feedback")
def feedback(feedback: list[dict] = Body(embed=True)) -> dict:
    outcomes.extend(feedback)
    return {}


@app.get("/outcomes")
def told() -> list[dict]:
    return outcomes
