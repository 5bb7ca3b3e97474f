"""The backtester: trades a trained model over past bars, exactly resumable.

Its modules, from the outside in:
    run         one backtest from the bundle to the result: infer, trade, report, save, stop
    loading     what a run needs before its first bar: model, strategy, prices, inputs
    resume      what a checkpoint holds, and what must be true to continue from it
    inference   the network over fixed blocks of bars, and the decisions it stands for
    panel       market data of several symbols on one time axis
    kernel      the compiled loop: fills, stops, costs, one cash account
    portfolio   the kernel's record types and codes
    state       the kernel's state between chunks, and its way into a checkpoint's bytes and back
    metrics     pure functions of equity and trades
    result      the files of a finished backtest
"""

__all__: list[str] = []
