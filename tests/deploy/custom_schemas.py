"""What objects that are not Kubernetes' own may hold, as far as we use them.

Written by hand from the documentation of each, and strict: a field that is not here is taken for a
misspelt one. The API server of a cluster that has the definitions is the last judge.
"""

from typing import Any

Schema = dict[str, Any]


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of, "minItems": 1}


def _one_of(*allowed: str) -> Schema:
    return {"enum": list(allowed)}


NAME: Schema = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 253}
TEXT: Schema = {"type": "string", "minLength": 1}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
# A duration of the Gateway API (GEP-2257).
DURATION: Schema = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}
SCRAPED = _list(_object({"port": TEXT, "path": TEXT, "interval": DURATION}))
MATCH_LABELS = _object({"matchLabels": LABELS})
POOL_OF_GKE = _object(
    {
        "group": _one_of("inference.networking.k8s.io"),
        "kind": _one_of("InferencePool"),
        "name": NAME,
    }
)

SPECS: dict[tuple[str, str], Schema] = {
    ("inference.networking.k8s.io/v1", "InferencePool"): _object(
        {
            "selector": MATCH_LABELS,
            "targetPorts": {**_list(_object({"number": PORT})), "maxItems": 8},
            "endpointPickerRef": _object(
                {"name": NAME},
                {
                    "group": {"const": ""},
                    "kind": _one_of("Service"),
                    "port": _object({"number": PORT}),
                    "failureMode": _one_of("FailOpen", "FailClose"),
                },
            ),
        }
    ),
    ("llm-d.ai/v1alpha2", "InferenceObjective"): _object(
        {"poolRef": _object({"name": NAME}, {"group": TEXT, "kind": TEXT})},
        {"priority": {"type": "integer"}},
    ),
    ("gateway.networking.k8s.io/v1", "Gateway"): _object(
        {
            "gatewayClassName": NAME,
            "listeners": _list(
                _object(
                    {"name": NAME, "port": PORT, "protocol": _one_of("HTTP", "HTTPS")},
                    {
                        "allowedRoutes": _object(
                            {"namespaces": _object({"from": _one_of("All", "Same")})}
                        )
                    },
                )
            ),
        }
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _object(
        {
            "parentRefs": _list(_object({"name": NAME})),
            "rules": _list(
                _object(
                    {
                        "matches": _list(
                            _object(
                                {"path": _object({"type": _one_of("PathPrefix"), "value": TEXT})}
                            )
                        ),
                        "backendRefs": _list(_object({"group": TEXT, "kind": TEXT, "name": NAME})),
                    },
                    {"timeouts": _object({}, {"request": DURATION, "backendRequest": DURATION})},
                )
            ),
        }
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _object(
        {"selector": MATCH_LABELS, "endpoints": SCRAPED}, {"jobLabel": TEXT}
    ),
    ("monitoring.googleapis.com/v1", "PodMonitoring"): _object(
        {"selector": MATCH_LABELS, "endpoints": SCRAPED}
    ),
    ("networking.gke.io/v1", "HealthCheckPolicy"): _object(
        {
            "targetRef": POOL_OF_GKE,
            "default": _object(
                {
                    "config": _object(
                        {
                            "type": _one_of("HTTP"),
                            "httpHealthCheck": _object({"requestPath": TEXT, "port": PORT}),
                        }
                    )
                },
                {"checkIntervalSec": {"type": "integer"}, "timeoutSec": {"type": "integer"}},
            ),
        }
    ),
    ("networking.gke.io/v1", "GCPBackendPolicy"): _object(
        {"targetRef": POOL_OF_GKE, "default": _object({"timeoutSec": {"type": "integer"}})}
    ),
}
