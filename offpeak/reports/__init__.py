"""What people look at to see how purchases are getting on: tables in Markdown, and pictures.

Reads the ledger and nothing else. Neither the engine nor `with_offpeak` imports it; an asset of the project does.
"""
