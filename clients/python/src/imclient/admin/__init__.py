"""What operators do to a deployed stack with their own AWS credentials. Needs boto3: `pip install imclient[admin]`."""
