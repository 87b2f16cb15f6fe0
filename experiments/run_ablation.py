import sys, datetime
from pathlib import Path
from rich.console import Console
from ablations.protocols import PROTOCOLS
from ablations.plan import make_plan
from ablations.record import Store
from ablations.display import display_for
from cnnkit.data import load
import time
t=time.time()
root=Path(sys.argv[2]); data=load(sys.argv[3])
store=Store.open(root,data=data.fingerprint,data_description=data.describe())
plan=make_plan("depth",PROTOCOLS[sys.argv[1]],data,store,seeds=int(sys.argv[4]),arguments=sys.argv,now=datetime.datetime.now().isoformat())
store.write_study(plan.study)
from ablations.study import run, Options
from ablations.resources import Machine
print("imports",time.time()-t)
out=run(plan,Options(Machine.this()),display_for(Console()))
print(len(out.finished),out.failures,out.interrupted,time.time()-t)
