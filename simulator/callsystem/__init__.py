"""A mock call system: takes ready queue items from the CRM, "calls" them, publishes what happened.

It knows the Web API and the contract of the topics, and nothing of planner, writer or their mapping.
"""
