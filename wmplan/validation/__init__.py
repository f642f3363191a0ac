"""Whether a model is any good, from recorded episodes alone: no robot, no simulator, no true states.

`validate(...)` runs it; `wmplan validate` writes its report too. A folder DIR holds validation.json (schema 1),
report.html and, of a model with a decoder, imagined/EPISODE.npz: frames `real` and `imagined`, (1 + K, H, W, 3).
Lists have one entry a model step of the horizon, errors and distances are in units of one step's usual change of
latents. What is not finite is null.

    "schema", "date", "model": {"name", "sha256", "parameters"}, "seed", "settings", "planning", "machine", "versions"
    "data": {"path", "episodes": [numbers], "held_out": true, false or null where nobody knows, "said": why}
    "control_rate", "action_block", "steps": model steps looked ahead, "seconds": [of each]
    "verdict": one line; "trusted_steps", "trusted_seconds": how far ahead plans can be trusted
    "score": 0 to 100, "score_parts": {"prediction", "choice", "resolution", "actions", "sight"}, see .score
    "open_loop": {"windows", "error": [], "idle": [], "copy": [], "ratio": []}, see .open_loop
    "action_rank": {"windows", "candidates", "rank": [], "beats_random": [], "beats_recorded": [],
        "beats_blended": [], "spread": [], "own_cost": []}, see .action_rank
    "planned_actions": {"windows", "action_error": [], "action_error_by_entry": [[]], "action_error_chance": [],
        "action_score": []}, as far as plans reach, see .planned_actions
    "action_use": [{"entry", "name", "in_data", "in_model", "error_rise", "predicted"}], see .action_use
    "surprise": null, or {"frames", "above_usual", "median", "threshold", "threshold_episode", "by_episode": []}
    "neighbours": {"frames", "median", "p95", "agreement", "goals": [{"goal", "distance", "share"}]}
"""

from wmplan.validation.validate import table, validate

__all__ = ["table", "validate"]
