"""What the notebooks for people show: pictures that follow sliders. Each explorer is one module with a `show()`.

    curves       the retraining schedules as curves; nothing is trained
    first_look   prune a small network, watch its accuracy collapse, retrain it live
    parts        the small widgets that both are made of

An explorer's figures and sentences are functions of numbers; its widgets only pass these on.
"""
