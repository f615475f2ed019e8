from test_pusher import *
from test_pusher import pusher as pusher
for k in [k for k in globals() if k.startswith("test_")]: del globals()[k]
def test_x(pusher):
    made = update(opportunity(pusher))
    with pusher.program() as program:
        pusher.decide(made)
        try:
            pusher.outcome_of(made)
        finally:
            print(program.transcript())
