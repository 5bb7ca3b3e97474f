"""The backtester: trades a trained model over past bars, exactly resumable.

    run         one backtest from the bundle to the result; checkpoints, stops, resumes
    panel       market data on one time axis, (bars, symbols)
    inference   the network over fixed blocks of bars, and the decisions it stands for
    kernel      the compiled loop: fills, stops, costs, one cash account
    portfolio   the kernel's record types and codes
    state       the kernel's state between chunks, and its way into and out of a checkpoint
    metrics     pure functions of equity and trades
    result      the files of a finished backtest
"""
