"""Parts of the Partner Center simulator; `partner_center.py` next to this folder is its entry."""
