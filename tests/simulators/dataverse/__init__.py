"""The sandbox's Dataverse organisation: tables, Web API v9.2, change tracking, webhooks. One module per idea."""
