"""What the reference leaves unconfirmed, and what an organisation may configure: one switch each, with its default."""

from __future__ import annotations

from chassis import Setting

SETTINGS: dict[str, Setting] = {
    # Tokens and identity
    "token_lifetime_seconds": Setting(3599, "expires_in of new tokens"),
    "application_user_exists": Setting(True, "the organisation has a user for the application"),
    "unauthorized_body": Setting("empty", "body of 401", ("empty", "json")),
    "missing_privileges": Setting([], "privileges the application user lacks, such as prvWriteOpportunity"),
    "require_odata_version": Setting(False, "refuse requests without OData-Version"),
    # Rows and keys
    "alternate_key_status": Setting(
        "Active", "index of every key; unless Active, values may repeat", ("Active", "InProgress", "Pending", "Failed")
    ),
    "if_none_match_with_alternate_key": Setting(
        "works", "If-None-Match: * on the URL of an alternate key", ("works", "ignored", "refused")
    ),
    "create_only_code": Setting("0x80040237", "code of 412 on If-None-Match: *"),
    "concurrency_code": Setting("0x80060882", "code of 412 on If-Match"),
    "undeclared_property_code": Setting("0x80048d19", "code for a property the table lacks", ("0x80048d19", "0x0")),
    "choice_out_of_range_code": Setting(
        "0x80061005", "code for an unknown value of a choice", ("0x80061005", "0x8004431A")
    ),
    "read_only_column_write": Setting("refuse", "a computed column in a body", ("refuse", "ignore")),
    "null_bind_clears_lookup": Setting(True, "a null bind in PATCH clears the lookup; otherwise refused"),
    "duplicate_detection_status": Setting(412, "status when duplicate detection hits", (412, 500)),
    "upsert_race_window_ms": Setting(0, "time between looking a new alternate key up and inserting its row"),
    # Opportunities
    "closed_opportunity_read_only": Setting(True, "columns of a closed opportunity cannot be changed"),
    "close_by_patch": Setting(True, "statecode 1 or 2 by PATCH closes an opportunity; otherwise refused"),
    "split_state_updates": Setting(True, "PATCH of columns and state is two updates"),
    "opportunityclose_actualend": Setting("date", "type of opportunityclose.actualend", ("date", "datetime")),
    "money_decimals": Setting(-1, "decimals of money in answers; -1: as few as needed"),
    "time_resolution": Setting("second", "of createdon and modifiedon", ("second", "millisecond")),
    # Change tracking
    "delta_token_lifetime_seconds": Setting(604800.0, "age at which a delta link expires"),
    "untracked_tables": Setting([], "tables whose changes are not tracked, such as msft_microsoftsolution"),
    "expired_delta_status": Setting(400, "status for an expired delta link"),
    "expired_delta_code": Setting("0x80044352", "code for an expired delta link"),
    # Related rows
    "nested_expand_of_one_row": Setting(
        "works", "$expand below an expanded collection of a row that is read by its key", ("works", "empty")
    ),
    "child_write_touches_parent": Setting(False, "writing a solution moves the version of its opportunity"),
    # Batches
    "batch_requires_crlf": Setting(False, "refuse bare LF in $batch"),
    "batch_requires_content_id": Setting(False, "refuse parts of a change set without Content-ID"),
    # Service protection
    "limit_window_seconds": Setting(300.0, "length of the sliding window"),
    "limit_requests": Setting(6000, "requests per user and window"),
    "limit_execution_ms": Setting(1_200_000, "combined execution time per user and window"),
    "limit_concurrency": Setting(52, "requests at the same time"),
    "request_duration_ms": Setting(0, "time every operation takes"),
    "retry_after_seconds": Setting(-1, "Retry-After of 429; -1: computed from the window"),
    # Webhooks
    "update_step_fires_on_close": Setting(True, "Win and Lose also fire steps on Update"),
    "bypass_headers_reach_webhooks": Setting(True, "the bypass headers keep webhook steps from firing"),
    "webhook_standard_ports_only": Setting(False, "endpoints need port 443 (https) or 80 (http)"),
    "webhook_parent_context": Setting(
        "interactive",
        "ParentContext of an update: only of a seller's edits, always, never",
        ("interactive", "always", "never"),
    ),
    "webhook_step_primary_name": Setting(False, "AsynchronousStepPrimaryName leads the post images"),
    "webhook_image_property_check": Setting(True, "messagepropertyname of an image has to fit its message"),
    "webhook_date_zone": Setting("", "zone inside OperationCreatedOn, such as -0700"),
    "webhook_size_limit_bytes": Setting(262144, "a longer body is cut"),
    "webhook_size_exceeded_value": Setting("true", "value of x-ms-dynamics-msg-size-exceeded"),
    "delivery_attempts": Setting(2, "attempts per webhook event: 502, 503 and 504 are tried once more"),
    "delivery_interval_ms": Setting(500, "wait before the second attempt"),
    "delivery_timeout_ms": Setting(60_000, "time limit of one attempt"),
}
